"""The residual network of TransUNet for volumes, with a place for each weight of the 2D one."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.channels_last import InstanceNorm, Step, pointwise
from medseg.networks.layers.checkpointing import run
from medseg.networks.layers.resnetv2 import STD_EPS, ResidualUnit, group_norm


class StdConv3d(nn.Conv3d):
    """3D convolution, without bias, whose weights are standardised per output channel.

    As :class:`medseg.networks.layers.resnetv2.StdConv2d`, which see. Along the last axis the
    border is repeated instead of padded with zeros, so that a volume that is the same at every
    depth keeps being so.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, stride: Any = 1
    ) -> None:
        pad = kernel_size // 2
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding=(pad, pad, 0), bias=False
        )
        self.repeated = pad

    def reset_parameters(self) -> None:
        """Draw the weights from a normal distribution; standardising makes its width moot."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def standardised(self) -> torch.Tensor:
        """Weights of mean 0 and variance 1 per output channel, the shape of ``weight``."""
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3, 4), correction=0, keepdim=True)
        return (self.weight - mean) * torch.rsqrt(var + STD_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve; shape (B, C, X, Y, Z) to (B, C', X', Y', Z')."""
        weight = self.standardised()
        if x.shape[1] == 1 and self.in_channels == 3:
            weight = weight.sum(1, keepdim=True)
        if not self.repeated:
            return pointwise(x, weight, stride=self.stride)
        ends = [x[..., :1]] * self.repeated, [x[..., -1:]] * self.repeated
        x = torch.cat([*ends[0], x, *ends[1]], dim=-1)
        return F.conv3d(x, weight, stride=self.stride, padding=self.padding)


class ResidualUnit3D(ResidualUnit):
    """Bottleneck of three standardised 3D convolutions, each followed by a group norm.

    Args:
        in_channels: Channels that come in.
        width: Channels C of the 3×3×3 convolution; 4 C go out.
        stride: Step of the 3×3×3 convolution along each axis.
    """

    def __init__(self, in_channels: int, width: int, *, stride: Step = (1, 1, 1)) -> None:
        super().__init__(in_channels, width, stride=stride, conv=StdConv3d)
        if self.projects:
            self.gn_proj = InstanceNorm(4 * width)  # type: ignore[assignment]


class ResNetV23D(nn.Module):
    """Features at 1/16 of the volume, and those on the way there for a decoder.

    Args:
        in_channels: Channels of the volume; a network of three also takes volumes of one.
        block_units: Residual units in each of the three blocks.
        width_factor: Multiplies the widths; at 1 the blocks give 256, 512, 1024 channels.
        strides: Four steps along each axis; only that along the last axis may be 1 or 2.
        checkpointing: Whether each block computes its activations again in the backward pass.

    Attributes:
        out_channels: Channels of the features.
        skip_channels: Channels of the skips at 1/8, 1/4, 1/2 and of none at full size.

    Raises:
        UsageError: If a stride does not fit.

    Source:
        :class:`medseg.networks.layers.resnetv2.ResNetV2`, whose weights it takes, each kernel
        repeated along the last axis (Carreira and Zisserman, I3D, arXiv:1705.07750).
    """

    def __init__(
        self,
        in_channels: int = 3,
        block_units: Sequence[int] = (3, 4, 9),
        *,
        width_factor: float = 1.0,
        strides: Sequence[Step] = ((2, 2, 2),) * 4,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if len(strides) != 4 or any(s[:2] != (2, 2) or s[2] not in (1, 2) for s in strides):
            raise UsageError(
                "strides before and in an R50 must be four of (2, 2, 1) or (2, 2, 2), "
                f"got {tuple(strides)}"
            )
        width, depth = int(64 * width_factor), strides[1][2]
        self.checkpointing = checkpointing
        self.root = nn.Sequential(
            StdConv3d(in_channels, width, kernel_size=7, stride=strides[0]),
            group_norm(width),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.MaxPool3d((3, 3, depth), stride=(2, 2, depth))
        self.block1 = _block(width, width, block_units[0], (1, 1, 1))
        self.block2 = _block(4 * width, 2 * width, block_units[1], strides[2])
        self.block3 = _block(8 * width, 4 * width, block_units[2], strides[3])
        self.out_channels = 16 * width
        self.skip_channels = (8 * width, 4 * width, width, 0)

    def forward(self, volume: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Extract features.

        Args:
            volume: Shape (B, C, X, Y, Z), multiples of the strides' product.

        Returns:
            Features of shape (B, ``out_channels``, X/16, Y/16, …) and three skips, coarsest
            first. As in 2D the one at 1/4 has a last row and column of zeros.
        """
        half = run(self.root, volume, again=self.checkpointing)
        quarter = run(self.block1, self.pool(half), again=self.checkpointing)
        eighth = run(self.block2, quarter, again=self.checkpointing)
        features = run(self.block3, eighth, again=self.checkpointing)
        rows, columns = half.shape[2] // 2, half.shape[3] // 2
        missing = (0, 0, 0, columns - quarter.shape[3], 0, rows - quarter.shape[2])
        return features, [eighth, F.pad(quarter, missing), half]


def _block(in_channels: int, width: int, units: int, stride: Step) -> nn.Sequential:
    first = ResidualUnit3D(in_channels, width, stride=stride)
    return nn.Sequential(first, *(ResidualUnit3D(4 * width, width) for _ in range(units - 1)))
