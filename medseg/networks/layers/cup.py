"""The cascaded upsampler: from features at 1/16 of the image to its full size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets.attentionunet import AttentionBlock
from torch import nn


class CUP(nn.Module):
    """Cascaded upsampler (CUP), TransUNet's decoder.

    Args:
        in_channels: Channels of the features.
        skip_channels: Channels of the skip that each block takes, coarsest first; 0 for none.
        channels: Width of the first convolution, then of each block; one more than the skips.
        scales: How much each block enlarges.
        gated: Whether each skip goes through an attention gate.

    Source:
        Chen et al., TransUNet, arXiv:2102.04306; upsampling aligns corners, as published.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: Sequence[int],
        *,
        channels: Sequence[int] = (512, 256, 128, 64, 16),
        scales: Sequence[int] | None = None,
        gated: bool = False,
    ) -> None:
        super().__init__()
        scales = [2] * len(skip_channels) if scales is None else scales
        self.stem = _conv_bn_relu(in_channels, channels[0])
        self.blocks = nn.ModuleList(
            UpBlock(coarse, skip, out_channels=fine, scale=scale, gated=gated)
            for coarse, skip, fine, scale in zip(
                channels, skip_channels, channels[1:], scales, strict=False
            )
        )

    def forward(self, features: torch.Tensor, skips: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Upsample.

        Args:
            features: Shape (B, C, h, w).
            skips: One for each block that takes one, coarsest first.

        Returns:
            Features at the product of the scales times the size, of the last block's width.
        """
        x: torch.Tensor = self.stem(features)
        for index, block in enumerate(self.blocks):
            x = block(x, skips[index] if index < len(skips) else None)
        return x


class UpBlock(nn.Module):
    """Enlarge, join a skip, and convolve twice.

    Args:
        in_channels: Channels that come in.
        skip_channels: Channels of the skip; 0 for none.
        out_channels: Channels that go out.
        scale: How much larger each side becomes.
        gated: Whether the skip goes through an attention gate, which the features steer (MONAI's;
            Oktay et al., Attention U-Net, arXiv:1804.03999).
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        *,
        out_channels: int,
        scale: int = 2,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.conv1 = _conv_bn_relu(in_channels + skip_channels, out_channels)
        self.conv2 = _conv_bn_relu(out_channels, out_channels)
        gated = gated and skip_channels > 0
        inner = max(1, skip_channels // 2)
        self.gate = AttentionBlock(2, inner, in_channels, skip_channels) if gated else None

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Shape (B, C, h, w) and skip (B, S, scale h, scale w) to (B, C', scale h, scale w)."""
        if self.scale != 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=True)
        if skip is not None:
            x = torch.cat([x, skip if self.gate is None else self.gate(x, skip)], dim=1)
        out: torch.Tensor = self.conv2(self.conv1(x))
        return out


def _conv_bn_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())
