"""Rolling a grid of tokens along all its axes at once."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch


def roll(image: torch.Tensor, shifts: Sequence[int]) -> torch.Tensor:
    """Roll (B, *grid, ...) as ``torch.roll`` does along the axes of the grid.

    ``torch.roll`` copies everything once for each axis, forward and backward. While training,
    it is copied once instead, corner by corner; otherwise ``torch.roll`` is left to exporters.
    """
    if image.requires_grad and torch.is_grad_enabled():
        rolled: torch.Tensor = _Roll.apply(image, tuple(shifts))  # type: ignore[no-untyped-call]
        return rolled
    return image.roll(tuple(shifts), tuple(range(1, len(shifts) + 1)))


class _Roll(torch.autograd.Function):
    """Its gradient is rolled back."""

    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, shifts: tuple[int, ...]) -> torch.Tensor:
        """Roll."""
        ctx.shifts = shifts
        return _copied(image, shifts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Roll back."""
        return _copied(gradients[0], tuple(-shift for shift in ctx.shifts)), None


def _copied(image: torch.Tensor, shifts: tuple[int, ...]) -> torch.Tensor:
    out = torch.empty(image.shape, dtype=image.dtype, device=image.device)
    pieces = []
    for shift, size in zip(shifts, image.shape[1:], strict=False):
        head = -shift % size  # so many places from the start go to the end
        moves = [(slice(head, None), slice(0, size - head)), (slice(0, head), slice(-head, None))]
        pieces.append(moves if head else [(slice(None), slice(None))])
    for corner in itertools.product(*pieces):
        source = (slice(None), *(move[0] for move in corner))
        target = (slice(None), *(move[1] for move in corner))
        out[target] = image[source]
    return out
