"""Attention by name."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.attention.blocks import BlockSparse
from medseg.networks.layers.attention.cut import along, dilated, windows
from medseg.networks.layers.attention.grid_attention import GridAttention
from medseg.networks.layers.attention.patterns import ByHeads, Dense, Grouped, share_heads
from medseg.networks.layers.grid import Grid

ATTENTIONS = ("dense", "windowed", "window_grid", "axial", "plane_depth", "block_sparse")
WINDOW = {2: 8, 3: 4}  # 64 tokens, by the number of axes


def make_attention(
    kind: str,
    channels: int,
    num_heads: int,
    *,
    axes: int = 3,
    window: int | Sequence[int] | None = None,
    layer_index: int = 0,
    dropout: float = 0.0,
    gathered_blocks: int = 3,
    global_tokens: int = 2,
) -> GridAttention:
    """Attention of one kind, for grids of any size.

    ``dense``: all to all. ``windowed``: within windows, which odd layers shift by half of one.
    ``window_grid``: half of the heads within windows, half on grids spread over everything.
    ``axial``: a share of the heads along each axis. ``plane_depth``: half of the heads within
    planes across the last axis, half along it. ``block_sparse``: to the own window, some
    windows elsewhere and a few global tokens. Only windows have a relative position bias.

    Args:
        kind: One of ``ATTENTIONS``.
        channels: Width C of a token; a multiple of ``num_heads``.
        num_heads: Attention heads M.
        axes: 2 or 3.
        window: Most tokens of a window along each axis; 8 in 2D and 4 in 3D unless given.
        layer_index: Number of the layer: odd ones shift their windows, and each has windows
            elsewhere of its own.
        dropout: Share of attention weights dropped, in training only.
        gathered_blocks: Windows elsewhere that a window attends to.
        global_tokens: Along each axis, how many tokens see all and are seen by all.

    Raises:
        UsageError: If there is no such kind, or it does not go with axes, window or heads.
    """
    if kind not in ATTENTIONS:
        raise UsageError(f"attention must be one of {', '.join(ATTENTIONS)}, got {kind!r}")
    for name, value in (("gathered_blocks", gathered_blocks), ("global_tokens", global_tokens)):
        if value < 0:
            raise UsageError(f"{name} must be 0 or more, got {value}")
    size = _window(window, axes)
    patterns: list[nn.Module] = []
    if kind == "dense":
        patterns = [Dense(dropout=dropout)]
    elif kind == "block_sparse":
        patterns = [
            BlockSparse(size, gathered_blocks, global_tokens, seed=layer_index, dropout=dropout)
        ]
    elif kind in ("windowed", "window_grid"):
        near_heads, *rest = share_heads(num_heads, 1 if kind == "windowed" else 2)
        near = partial(windows, window=size, shifted=layer_index % 2 == 1)
        patterns = [Grouped(near, window=size, num_heads=near_heads, dropout=dropout)]
        patterns += [Grouped(partial(dilated, window=size), dropout=dropout) for _ in rest]
    else:
        every = tuple(range(axes))
        ways = [every[:-1], every[-1:]] if kind == "plane_depth" else [(axis,) for axis in every]
        patterns = [Grouped(partial(along, axes=way), dropout=dropout) for way in ways]
    pattern = patterns[0] if len(patterns) == 1 else ByHeads(patterns, num_heads)
    return GridAttention(channels, num_heads, pattern)


def _window(window: int | Sequence[int] | None, axes: int) -> Grid:
    if axes not in WINDOW:
        raise UsageError(f"attention has 2 or 3 axes, got {axes}")
    given = WINDOW[axes] if window is None else window
    size = (given,) * axes if isinstance(given, int) else tuple(given)
    if len(size) != axes or min(size) < 1:
        raise UsageError(f"window must be 1 or more along each of {axes} axes, got {given}")
    return size
