"""The weight-standardised residual network that gives TransUNet its features."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

GROUPS = 32
EPS = 1e-6  # of every group norm but that of the projections
STD_EPS = 1e-5  # of weight standardisation


class StdConv2d(nn.Conv2d):
    """2D convolution, without bias, whose weights are standardised per output channel.

    A layer with three input channels also takes an image of one, and does what it would do on
    that image repeated three times, at a third of the cost.

    Source:
        Qiao et al., Weight Standardization, arXiv:1903.10520: (w - mean) / sqrt(var + 1e-5),
        with the biased variance.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        )

    def reset_parameters(self) -> None:
        """Draw the weights from a normal distribution; standardising makes its width moot."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def standardised(self) -> torch.Tensor:
        """Weights of mean 0 and variance 1 per output channel, the shape of ``weight``."""
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (self.weight - mean) * torch.rsqrt(var + STD_EPS)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Convolve; shape (B, C, H, W) to (B, C', H', W')."""
        weight = self.standardised()
        if image.shape[1] == 1 and self.in_channels == 3:
            weight = weight.sum(1, keepdim=True)
        return F.conv2d(image, weight, stride=self.stride, padding=self.padding)


class ChannelNorm(nn.GroupNorm):
    """Group norm of one group per channel that takes an image of one pixel too.

    PyTorch refuses that one where it comes alone; its one pixel is its own mean, and the bias is
    what remains, as in a batch of several.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise; shape (B, C, H, W) in and out."""
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class ResidualUnit(nn.Module):
    """Bottleneck of three standardised convolutions, each followed by a group norm.

    Args:
        in_channels: Channels that come in.
        width: Channels C of the 3×3 convolution; 4 C go out.
        stride: Step of the 3×3 convolution, and of the projection beside it.
        conv: Makes the convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: Any = 1,
        conv: Callable[..., nn.Module] = StdConv2d,
    ) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = conv(in_channels, width, kernel_size=1)
        self.gn1 = group_norm(width)
        self.conv2 = conv(width, width, kernel_size=3, stride=stride)
        self.gn2 = group_norm(width)
        self.conv3 = conv(width, out_channels, kernel_size=1)
        self.gn3 = group_norm(out_channels)
        self.projects = stride not in (1, (1, 1, 1)) or in_channels != out_channels
        if self.projects:
            self.downsample = conv(in_channels, out_channels, kernel_size=1, stride=stride)
            self.gn_proj = ChannelNorm(out_channels, out_channels)  # as published, eps 1e-5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the bottleneck finds; shape (B, C, H, W) to (B, 4 width, H', W')."""
        y = F.relu(self.gn1(self.conv1(x)))
        y = F.relu(self.gn2(self.conv2(y)))
        y = self.gn3(self.conv3(y))
        shortcut = self.gn_proj(self.downsample(x)) if self.projects else x
        return F.relu(shortcut + y)


class ResNetV2(nn.Module):
    """Features at 1/16 of the image, and those on the way there for a decoder.

    Args:
        in_channels: Channels of the image; a network of three also takes images of one.
        block_units: Residual units in each of the three blocks; (3, 4, 9) is ResNet-50 without
            its last block.
        width_factor: Multiplies the widths; at 1 the blocks give 256, 512, 1024 channels.
        out_stride: 16, or 8 to leave out the last block's step.

    Attributes:
        out_channels: Channels of the features.
        skip_channels: Channels of the skips at 1/8, 1/4 and 1/2, in that order.

    Source:
        Chen et al., TransUNet, arXiv:2102.04306, as published: norms come after convolutions, in
        spite of the V2, and the max pool is not padded.
    """

    def __init__(
        self,
        in_channels: int = 3,
        block_units: Sequence[int] = (3, 4, 9),
        *,
        width_factor: float = 1.0,
        out_stride: int = 16,
    ) -> None:
        super().__init__()
        width = int(64 * width_factor)
        self.root = nn.Sequential(
            StdConv2d(in_channels, width, kernel_size=7, stride=2), group_norm(width), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, stride=2)
        self.block1 = _block(width, width, block_units[0], stride=1)
        self.block2 = _block(4 * width, 2 * width, block_units[1], stride=2)
        self.block3 = _block(8 * width, 4 * width, block_units[2], stride=out_stride // 8)
        self.out_channels = 16 * width
        self.skip_channels = (8 * width, 4 * width, width)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Extract features.

        Args:
            image: Shape (B, C, H, W), with H and W multiples of 16.

        Returns:
            Features of shape (B, ``out_channels``, H/16, W/16), or H/8, W/8 at that stride, and
            skips of sizes H/8, H/4 and H/2. The skip at 1/4 has a last row and column of zeros,
            since the pool is unpadded.
        """
        half = self.root(image)
        quarter = self.block1(self.pool(half))
        eighth = self.block2(quarter)
        features = self.block3(eighth)
        rows, columns = half.shape[2] // 2, half.shape[3] // 2
        missing = (0, columns - quarter.shape[3], 0, rows - quarter.shape[2])
        return features, [eighth, F.pad(quarter, missing), half]


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm of 32 groups, or of fewer where a group would have less than two channels.

    Every published width is a multiple of 64 and has 32 groups; width 32 has 16, width 16 has 8.
    """
    return nn.GroupNorm(max(1, math.gcd(2 * GROUPS, channels) // 2), channels, eps=EPS)


def _block(in_channels: int, width: int, units: int, *, stride: int) -> nn.Sequential:
    first = ResidualUnit(in_channels, width, stride=stride)
    return nn.Sequential(first, *(ResidualUnit(4 * width, width) for _ in range(units - 1)))
