"""Who attends to whom: all to all, or the tokens of one group to each other."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.attention.cut import Cut
from medseg.networks.layers.attention.mixing import Mixing
from medseg.networks.layers.grid import Grid
from medseg.networks.layers.positions import relative_bias


class Dense(nn.Module):
    """Every token attends to all."""

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.mixing = Mixing(dropout)

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _grid: Grid
    ) -> torch.Tensor:
        """Mix values; queries, keys, values and what comes of them have shape (B, N, M, D)."""
        mixed: torch.Tensor = self.mixing(*(part.transpose(1, 2) for part in (q, k, v)))
        return mixed.transpose(1, 2)

    def mask_of(self, grid: Grid) -> np.ndarray:
        """Who sees whom, shape (N, N)."""
        return np.ones((math.prod(grid),) * 2, dtype=bool)


class Grouped(nn.Module):
    """Every token attends to those of its own group.

    Args:
        cutting: From a grid to its groups.
        window: Size of the largest group, to learn a bias for each head and each offset between
            two tokens of a group; ``None`` for no such bias.
        num_heads: Heads M that the bias is for.
        dropout: Share of attention weights dropped, in training only.
    """

    def __init__(
        self,
        cutting: Callable[[Grid], Cut],
        *,
        window: Grid | None = None,
        num_heads: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cutting = cutting
        self.mixing = Mixing(dropout)
        self.bias_table: nn.Parameter | None = None
        if window is not None:
            offsets = [2 * size - 1 for size in window]
            self.bias_table = nn.Parameter(torch.zeros(num_heads, *offsets))
            nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid
    ) -> torch.Tensor:
        """Mix values; queries, keys, values and what comes of them have shape (B, N, M, D)."""
        batch, cut = q.shape[0], self.cutting(grid)
        q, k, v = (cut.split(part) for part in (q, k, v))  # each (groups, B·M, L, D)
        bias = self._bias(cut.group)
        if bias is not None:
            bias = bias.repeat(1, batch, 1, 1)  # (1, B·M, L, L)
        return cut.merge(self.mixing(q, k, v, bias=bias, mask=cut.mask(q.device)), batch)

    def mask_of(self, grid: Grid) -> np.ndarray:
        """Who sees whom, shape (N, N)."""
        owners = self.cutting(grid).owners()
        return np.asarray(owners[:, None] == owners[None])

    def _bias(self, group: Grid) -> torch.Tensor | None:
        """Shape (1, M, L, L); a smaller window has the offsets in the middle of the table."""
        if self.bias_table is None:
            return None
        table: torch.Tensor = self.bias_table
        for axis, size in enumerate(group, start=1):
            most = (table.shape[axis] + 1) // 2
            table = table.narrow(axis, most - size, 2 * size - 1)
        return relative_bias(table.flatten(1), grid=group, new_grid=group, extra_tokens=0)


class ByHeads(nn.Module):
    """Some heads attend in one way, some in another; as equal in number as can be.

    Args:
        patterns: The ways, each a module of this file's kind.
        num_heads: Heads M, at least one for each way.

    Source:
        Heads of several shapes side by side: Dong et al., CSWin, arXiv:2107.00652.
    """

    def __init__(self, patterns: Sequence[nn.Module], num_heads: int) -> None:
        super().__init__()
        self.patterns = nn.ModuleList(patterns)
        self.shares = share_heads(num_heads, len(patterns))

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid
    ) -> torch.Tensor:
        """Mix values; queries, keys, values and what comes of them have shape (B, N, M, D)."""
        parts = zip(*(torch.split(part, self.shares, dim=2) for part in (q, k, v)), strict=True)
        ways = zip(self.patterns, parts, strict=True)
        return torch.cat([pattern(*own, grid) for pattern, own in ways], dim=2)

    def mask_of(self, grid: Grid) -> np.ndarray:
        """Who sees whom, shape (M, N, N)."""
        masks = [pattern.mask_of(grid) for pattern in self.patterns]  # type: ignore[operator]
        return np.repeat(np.stack(masks), self.shares, axis=0)


def share_heads(num_heads: int, ways: int) -> list[int]:
    """How many heads each way gets.

    Raises:
        UsageError: If there are fewer heads than ways.
    """
    if num_heads < ways:
        raise UsageError(f"this attention needs {ways} heads or more, got {num_heads}")
    return [num_heads // ways + (way < num_heads % ways) for way in range(ways)]
