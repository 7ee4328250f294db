"""From an image to tokens."""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.networks.layers.grid import pad_to_multiple


class PatchEmbed(nn.Module):
    """Patches flattened and projected: a convolution whose stride is its kernel.

    A layer of three input channels takes an image of one as if it were repeated three times.

    Args:
        in_channels: Channels of the image.
        channels: Width C of a token.
        patch_size: Side of a patch, or its sides.
        axes: 2 for images, 3 for volumes.
    """

    def __init__(
        self, in_channels: int, channels: int, *, patch_size: int | Sequence[int], axes: int
    ) -> None:
        super().__init__()
        patch_size = patch_size if isinstance(patch_size, int) else tuple(patch_size)
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if axes == 2 else nn.Conv3d
        self.patch_size = patch_size
        self.proj = conv(in_channels, channels, patch_size, stride=patch_size)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Shape (B, in_channels, *spatial) to (B, C, *grid); sides are padded with zeros."""
        if image.shape[1] == 1 and self.proj.in_channels == 3:
            image = image.expand(-1, 3, *image.shape[2:])
        patches: torch.Tensor = self.proj(pad_to_multiple(image, self.patch_size))
        return patches
