"""Operations on volumes whose channels lie side by side in memory, quick in that layout.

A CPU convolves such volumes two to four times as fast in bfloat16, but PyTorch's own instance
norm, 1×1×1 and transposed convolutions are slow on them, or give them back in another layout.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Step = tuple[int, int, int]
EPS = 1e-5


def channels_last(volume: torch.Tensor) -> torch.Tensor:
    """A copy in this layout, whose strides say so even of one channel; (B, C, X, Y, Z)."""
    return torch.empty_like(volume, memory_format=torch.channels_last_3d).copy_(volume)


class InstanceNorm(nn.Module):
    """Each channel of each volume gets mean 0 and variance 1, then a learned scale and shift.

    A channel of one voxel becomes its shift. It is the batch norm of each volume alone.

    Args:
        channels: Channels of the volume.

    Source:
        Ulyanov et al., Instance Normalization, arXiv:1607.08022.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise; shape (B, C, X, Y, Z) in and out."""
        if _is_exported():  # for a batch of any size
            return torch.group_norm(x, x.shape[1], self.weight, self.bias, EPS)
        each = [
            torch.batch_norm(one, self.weight, self.bias, None, None, True, 0.0, EPS, False)
            for one in (x[i : i + 1] for i in range(len(x)))
        ]
        return each[0] if len(each) == 1 else torch.cat(each)


def _is_exported() -> bool:
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return traced or torch.compiler.is_compiling()


class Pointwise(nn.Conv3d):
    """1×1×1 convolution, as a product with the channels of each voxel.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Step along each axis.
        bias: Whether a learned number is added to each channel.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: Step = (1, 1, 1), bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, 1, stride, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve; shape (B, C, X, Y, Z) to (B, C', X', Y', Z')."""
        return pointwise(x, self.weight, self.bias, stride=self.stride)


def pointwise(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *, stride: Any
) -> torch.Tensor:
    """1×1×1 convolution of (B, C, X, Y, Z) with weights of shape (C', C, 1, 1, 1)."""
    x = x[:, :, :: stride[0], :: stride[1], :: stride[2]]
    return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)


class Enlarge(nn.ConvTranspose3d):
    """Transposed convolution whose kernel is its stride: each voxel becomes a block of voxels.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        scale: Voxels of a block along each axis.
    """

    def __init__(self, in_channels: int, out_channels: int, *, scale: Step) -> None:
        super().__init__(in_channels, out_channels, scale, stride=scale, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Enlarge; shape (B, C, X, Y, Z) to (B, C', a X, b Y, c Z)."""
        a, b, c = self.weight.shape[2:]
        weight = self.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)  # (a b c C', C)
        voxels = F.linear(x.movedim(1, -1), weight)  # (B, X, Y, Z, a b c C')
        blocks = voxels.reshape(*voxels.shape[:-1], a, b, c, -1)
        x = blocks.permute(0, 1, 4, 2, 5, 3, 6, 7)  # (B, X, a, Y, b, Z, c, C')
        return x.flatten(5, 6).flatten(3, 4).flatten(1, 2).movedim(-1, 1)
