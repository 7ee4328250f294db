"""Images and position embeddings whose size is not that of the grid of tokens."""

import torch
import torch.nn.functional as F


def pad_to_multiple(image: torch.Tensor, multiple: int) -> torch.Tensor:
    """Add zeros at the bottom and right until both sides are multiples; (B, C, H, W) in and out."""
    height, width = image.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return image
    return F.pad(image, (0, -width % multiple, 0, -height % multiple))


def resize_positions(
    positions: torch.Tensor, grid: tuple[int, int], new_grid: tuple[int, int]
) -> torch.Tensor:
    """Position embeddings of one grid of tokens, brought to another bilinearly.

    Args:
        positions: Shape (1, h·w, C), row after row, without a class token.
        grid: Rows h and columns w they were made for.
        new_grid: Rows and columns wanted.

    Returns:
        Shape (1, new h · new w, C); ``positions`` itself if the grids are the same.
    """
    if grid == new_grid:
        return positions
    image = positions.transpose(1, 2).reshape(1, -1, *grid)  # (1, C, h, w)
    image = F.interpolate(image, size=new_grid, mode="bilinear", align_corners=False)
    return image.flatten(2).transpose(1, 2)
