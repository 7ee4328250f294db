"""Convolutions of volumes: a residual encoder, and an upsampler that takes its skips."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from medseg.networks.layers.channels_last import Enlarge, InstanceNorm, Pointwise, Step
from medseg.networks.layers.checkpointing import run

SLOPE = 0.01  # of the leaky ReLU


class ResidualBlock3D(nn.Module):
    """Two 3×3×3 convolutions, each followed by an instance norm, beside a shortcut.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Step of the first convolution along each axis.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: Step = (1, 1, 1)) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels, stride)
        self.norm1 = InstanceNorm(out_channels)
        self.conv2 = _conv(out_channels, out_channels)
        self.norm2 = InstanceNorm(out_channels)
        projects = in_channels != out_channels or stride != (1, 1, 1)
        self.shortcut = Pointwise(in_channels, out_channels, stride=stride) if projects else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (B, C, X, Y, Z) to (B, C', X', Y', Z')."""
        y = F.leaky_relu(self.norm1(self.conv1(x)), SLOPE, inplace=True)
        y = self.norm2(self.conv2(y))
        x = x if self.shortcut is None else self.shortcut(x)
        return F.leaky_relu(x + y, SLOPE, inplace=True)


class ResidualEncoder3D(nn.Module):
    """One residual block at each level, the first at full size.

    Args:
        in_channels: Channels of the volume.
        widths: Channels at each level.
        strides: Step along each axis from each level to the next.
        checkpointing: Whether each level computes its activations again in the backward pass.

    Attributes:
        out_channels: Channels of the features.
        skip_channels: Channels of the skips, coarsest first.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        strides: Sequence[Step],
        *,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        steps = [(1, 1, 1), *strides]
        ins = [in_channels, *widths[:-1]]
        self.levels = nn.ModuleList(
            ResidualBlock3D(i, o, stride=step)
            for i, o, step in zip(ins, widths, steps, strict=True)
        )
        self.out_channels = widths[-1]
        self.skip_channels = tuple(reversed(widths[:-1]))

    def forward(self, volume: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features of the last level, and those of the levels before, coarsest first."""
        levels: list[torch.Tensor] = []
        for level in self.levels:
            volume = run(level, volume, again=self.checkpointing)
            levels.append(volume)
        return levels[-1], levels[-2::-1]


class UpBlock3D(nn.Module):
    """Enlarge by a transposed convolution, join a skip, and convolve.

    Args:
        in_channels: Channels that come in.
        skip_channels: Channels of the skip; 0 for none.
        out_channels: Channels that go out.
        scale: How much larger each side becomes.
    """

    def __init__(
        self, in_channels: int, skip_channels: int, *, out_channels: int, scale: Step
    ) -> None:
        super().__init__()
        self.up = Enlarge(in_channels, out_channels, scale=scale)
        self.conv = _conv(out_channels + skip_channels, out_channels)
        self.norm = InstanceNorm(out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Shape (B, C, X, Y, Z) and skip of the larger size to (B, C', scale X, …)."""
        x = self.up(x)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=True)


class CUP3D(nn.Module):
    """The cascaded upsampler of TransUNet for volumes.

    Args:
        in_channels: Channels of the features.
        skip_channels: Channels of the skip that each block takes, coarsest first; 0 for none.
        channels: Width of each block.
        scales: How much each block enlarges along each axis.
        checkpointing: Whether each block computes its activations again in the backward pass.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: Sequence[int],
        *,
        channels: Sequence[int],
        scales: Sequence[Step],
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.blocks = nn.ModuleList(
            UpBlock3D(coarse, skip, out_channels=fine, scale=scale)
            for coarse, skip, fine, scale in zip(
                [in_channels, *channels[:-1]], skip_channels, channels, scales, strict=True
            )
        )

    def forward(
        self, features: torch.Tensor, skips: Sequence[torch.Tensor] = ()
    ) -> list[torch.Tensor]:
        """What each block gives, finest first."""
        outputs: list[torch.Tensor] = []
        for index, block in enumerate(self.blocks):
            skip = skips[index] if index < len(skips) else None
            features = run(block, features, skip, again=self.checkpointing)
            outputs.append(features)
        return outputs[::-1]


def _conv(in_channels: int, out_channels: int, stride: Step = (1, 1, 1)) -> nn.Conv3d:
    conv = nn.Conv3d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, a=SLOPE, nonlinearity="leaky_relu")
    return conv
