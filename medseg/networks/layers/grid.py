"""Images and position embeddings whose size is not that of the grid of tokens; 2D and 3D."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
Grid = tuple[int, ...]


def pad_to_multiple(image: torch.Tensor, multiple: int | Sequence[int]) -> torch.Tensor:
    """Add zeros at the end of each axis until all are multiples; (B, C, *spatial) in and out.

    ``multiple`` may be another number along each axis.
    """
    sizes = image.shape[2:]
    wanted = [multiple] * len(sizes) if isinstance(multiple, int) else multiple
    missing = [-size % step for size, step in zip(sizes, wanted, strict=True)]
    if not any(missing):
        return image
    return F.pad(image, [pad for size in reversed(missing) for pad in (0, size)])


def crop(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Take what was padded off again: the first voxels along each axis of (B, C, *spatial)."""
    for axis, length in enumerate(size, start=2):
        image = image.narrow(axis, 0, length)
    return image


def resize_positions(
    positions: torch.Tensor, grid: Sequence[int], new_grid: Sequence[int]
) -> torch.Tensor:
    """Position embeddings of one grid of tokens, brought to another linearly, corners aligned.

    Args:
        positions: Shape (1, N, C), row after row, without a class token.
        grid: Tokens along each axis that they were made for.
        new_grid: Tokens along each axis that are wanted.

    Returns:
        Shape (1, N', C); ``positions`` itself if the grids are the same.

    Source:
        As the original TransUNet resizes those of a published ViT:
        ``scipy.ndimage.zoom(order=1)``.
    """
    if tuple(grid) == tuple(new_grid):
        return positions
    image = positions.transpose(1, 2).reshape(1, -1, *grid)  # (1, C, *grid)
    image = F.interpolate(image, tuple(new_grid), mode=LINEAR[len(grid)], align_corners=True)
    return image.flatten(2).transpose(1, 2)
