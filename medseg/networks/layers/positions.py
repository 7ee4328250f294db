"""How tokens know where they are: the kinds of position embedding and where they act.

A table of learned numbers belongs to a kind; the functions here make one and turn it into what
is added to the tokens, or, for relative positions, to the products of attention.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.grid import LINEAR, Grid, resize_positions

KINDS = ("none", "learned_1d", "learned_2d", "sincos", "relative")
PLACES = ("stem", "every_layer", "shared")


def check_positions(kind: str, place: str, channels: int, axes: int) -> None:
    """Refuse a kind or place that there is not, or that does not go with the tokens' width.

    Raises:
        UsageError: If so.
    """
    if kind not in KINDS:
        raise UsageError(f"positions must be one of {', '.join(KINDS)}, got {kind!r}")
    if place not in PLACES:
        raise UsageError(f"positions_at must be one of {', '.join(PLACES)}, got {place!r}")
    if kind == "relative" and place == "stem":
        raise UsageError(
            "relative positions act inside attention: "
            "positions_at must be every_layer or shared, got 'stem'"
        )
    share = {"learned_2d": axes, "sincos": 2 * axes}.get(kind, 1)
    if channels % share:
        raise UsageError(
            f"hidden_size must be a multiple of {share} for positions {kind!r}, got {channels}"
        )


def position_table(
    kind: str, grid: Grid, *, channels: int, num_heads: int, extra_tokens: int
) -> nn.Parameter | None:
    """The learned numbers of one table, zero still; ``None`` where nothing is learned.

    Args:
        kind: One of ``KINDS``.
        grid: Tokens along each axis.
        channels: Width C of a token.
        num_heads: Heads M of attention.
        extra_tokens: Class and distillation tokens, which come before those of the grid.

    Returns:
        ``"learned_1d"``: shape (1, extra + N, C), one for each token. ``"learned_2d"``: shape
        (1, h + w, C / 2), the rows' and then the columns' (a third of C each in 3D).
        ``"relative"``: shape (M, (2h - 1) (2w - 1)), one for each head and offset.

    Source:
        Dosovitskiy et al., arXiv:2010.11929, appendix D.4; relative positions as a bias, Liu et
        al., Swin, arXiv:2103.14030.
    """
    if kind == "learned_1d":
        return nn.Parameter(torch.zeros(1, extra_tokens + math.prod(grid), channels))
    if kind == "learned_2d":
        return nn.Parameter(torch.zeros(1, sum(grid), channels // len(grid)))
    if kind == "relative":
        return nn.Parameter(torch.zeros(num_heads, math.prod(_offsets(grid))))
    return None


def added_positions(
    kind: str,
    table: torch.Tensor | None,
    *,
    grid: Grid,
    new_grid: Grid,
    extra_tokens: int,
    channels: int,
) -> torch.Tensor | None:
    """What is added to the tokens, shape (1, extra + N', C); ``None`` for nothing.

    Of ``"learned_2d"`` and ``"sincos"``, class and distillation tokens get zeros: these are
    learned themselves.
    """
    if kind in ("none", "relative"):
        return None
    if kind == "learned_1d" and table is not None:
        extra, places = table[:, :extra_tokens], table[:, extra_tokens:]
        return torch.cat([extra, resize_positions(places, grid, new_grid)], dim=1)
    places = _sincos(new_grid, channels) if table is None else _by_axis(table, grid, new_grid)
    return F.pad(places, (0, 0, extra_tokens, 0))


def relative_bias(
    table: torch.Tensor, *, grid: Grid, new_grid: Grid, extra_tokens: int
) -> torch.Tensor:
    """Bias of attention from each token to each, shape (1, M, extra + N', extra + N').

    Class and distillation tokens have no place and get zeros. A table of another grid is resized
    over its offsets.
    """
    offsets = table.view(1, -1, *_offsets(grid))  # (1, M, 2h-1, 2w-1)
    if tuple(grid) != tuple(new_grid):
        offsets = F.interpolate(
            offsets, _offsets(new_grid), mode=LINEAR[len(grid)], align_corners=True
        )
    index = torch.from_numpy(_offset_index(new_grid)).to(table.device)
    bias = offsets.flatten(2)[:, :, index]  # (1, M, N', N')
    return F.pad(bias, (extra_tokens, 0, extra_tokens, 0))


def _offsets(grid: Sequence[int]) -> Grid:
    return tuple(2 * size - 1 for size in grid)


@lru_cache(maxsize=32)
def _offset_index(grid: Grid) -> np.ndarray:
    """Which offset lies between each two tokens, shape (N, N); kept, so no tensor of a mode."""
    places = np.array(list(itertools.product(*map(range, grid))))  # (N, axes)
    between = places[:, None] - places[None] + np.array(grid) - 1  # (N, N, axes), 0 or more
    return np.asarray(np.ravel_multi_index(tuple(between.transpose(2, 0, 1)), _offsets(grid)))


def _by_axis(table: torch.Tensor, grid: Grid, new_grid: Grid) -> torch.Tensor:
    """Each token's own row's and column's embedding side by side, shape (1, N', C)."""
    axes = []
    for axis, part in enumerate(torch.split(table, list(grid), dim=1)):
        resized = resize_positions(part, grid[axis : axis + 1], new_grid[axis : axis + 1])
        shape = [1] * (len(grid) + 2)
        shape[axis + 1], shape[-1] = new_grid[axis], part.shape[-1]
        axes.append(resized.view(shape).expand(1, *new_grid, -1))
    return torch.cat(axes, dim=-1).flatten(1, -2)


def _sincos(grid: Grid, channels: int) -> torch.Tensor:
    """Sines and cosines of each axis' place, shape (1, N', C); as in Vaswani et al. 2017."""
    width = channels // (2 * len(grid))
    frequencies = 10000.0 ** -(torch.arange(width) / width)
    waves = []
    for place in torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij"):
        phases = place.flatten()[:, None] * frequencies  # (N', width)
        waves += [phases.sin(), phases.cos()]
    return torch.cat(waves, dim=1)[None]
