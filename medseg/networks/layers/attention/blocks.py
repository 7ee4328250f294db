"""Block-sparse attention: the own window, windows elsewhere, and a few global tokens."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from medseg.networks.layers.attention.cut import Cut, windows
from medseg.networks.layers.attention.mixing import Mixing
from medseg.networks.layers.grid import Grid


@dataclass(frozen=True)
class BlockPlan:
    """What the windows of one grid look at.

    Attributes:
        cut: The windows.
        gathered: For each window the numbers of the windows it sees, its own first, shape
            (windows, 1 + k).
        overall: Numbers of the global tokens, shape (g,).
        seen: Which of the keys brought together for a window count: no padding, and no global
            token a second time; shape (windows, (1 + k) L + g).
    """

    cut: Cut
    gathered: np.ndarray
    overall: np.ndarray
    seen: np.ndarray

    def mask(self) -> np.ndarray:
        """Who sees whom, shape (N, N)."""
        owners = self.cut.owners()
        of_windows = np.zeros((len(self.gathered),) * 2, dtype=bool)
        np.put_along_axis(of_windows, self.gathered, True, axis=1)
        mask: np.ndarray = of_windows[owners[:, None], owners[None]]
        mask[self.overall] = mask[:, self.overall] = True
        return mask


class BlockSparse(nn.Module):
    """Every token attends to its own window, to some windows elsewhere and to global tokens.

    Which windows lie elsewhere is drawn at random, the same on every machine and for every
    input of that grid: a choice by content would hang on rounding, differ between the images
    of a batch and have no gradient. The draw puts all windows in a ring and looks ahead by
    lengths that differ, so that every window is seen by as many as it sees.

    Args:
        window: Most tokens of a window along each axis.
        gathered_blocks: Windows elsewhere, k; fewer where a grid has not so many.
        global_tokens: Along each axis, how many tokens see all and are seen by all.
        seed: Of the draw; another in each layer lets news travel.
        dropout: Share of attention weights dropped, in training only.

    Source:
        Zaheer et al., BigBird, arXiv:2007.14062, with tokens of the grid as global ones.
    """

    def __init__(
        self,
        window: Grid,
        gathered_blocks: int,
        global_tokens: int,
        *,
        seed: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.window, self.seed = window, seed
        self.gathered_blocks, self.global_tokens = gathered_blocks, global_tokens
        self.mixing = Mixing(dropout)  # of the windows
        self.overall_mixing = Mixing(dropout)  # of the global tokens

    def plan(self, grid: Grid) -> BlockPlan:
        """What is seen in a grid."""
        return plan_blocks(grid, self.window, self.gathered_blocks, self.global_tokens, self.seed)

    def forward(self, heads: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Queries, keys and values of shape (B, N, 3, M, D) to tokens of shape (B, N, M, D)."""
        plan, batch = self.plan(grid), heads.shape[0]
        overall = torch.from_numpy(plan.overall).to(heads.device)
        special = heads[:, overall].permute(2, 0, 3, 1, 4)  # (3, B, M, g, D)
        q, k, v = plan.cut.split(heads).unbind(0)  # each (windows, B·M, L, D)
        k, v = (self._gather(part, special[i].flatten(0, 1), plan) for i, part in ((1, k), (2, v)))
        seen = torch.from_numpy(plan.seen).to(heads.device)[:, None, None]
        mixed = plan.cut.merge(self.mixing(q, k, v, mask=seen), batch)
        if not len(overall):
            return mixed
        _, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, M, N, D)
        of_all = self.overall_mixing(special[0], k, v).transpose(1, 2)  # (B, g, M, D)
        return mixed.index_copy(1, overall, of_all)

    def mask_of(self, grid: Grid) -> np.ndarray:
        """Who sees whom, shape (N, N)."""
        return self.plan(grid).mask()

    @staticmethod
    def _gather(part: torch.Tensor, special: torch.Tensor, plan: BlockPlan) -> torch.Tensor:
        """All keys (or values) of each window side by side, shape (windows, B·M, K, D)."""
        numbers = torch.from_numpy(plan.gathered).to(part.device)
        found = [part, *(part.index_select(0, own) for own in numbers.unbind(1)[1:])]
        return torch.cat([*found, special.expand(len(part), -1, -1, -1)], dim=2)


@lru_cache(maxsize=64)
def plan_blocks(
    grid: Grid, window: Grid, gathered_blocks: int, global_tokens: int, seed: int
) -> BlockPlan:
    """What the windows of a grid look at; the arguments are those of :class:`BlockSparse`."""
    cut = windows(grid, window=window)
    total = int(np.prod(cut.counts))
    rng = np.random.default_rng([seed, *grid])
    ring = rng.permutation(total)
    ahead = 1 + rng.permutation(total - 1)[:gathered_blocks]
    gathered = np.empty((total, 1 + len(ahead)), dtype=np.int64)
    gathered[ring, 0] = ring
    for column, length in enumerate(ahead, start=1):
        gathered[ring, column] = np.roll(ring, -length)

    places = []
    for size in grid:
        count = min(global_tokens, size)
        places.append((2 * np.arange(count) + 1) * size // (2 * max(count, 1)))
    overall = np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), grid).ravel()

    real = cut.real()  # (windows, L)
    elsewhere = (cut.owners()[overall] != gathered[:, :, None]).all(axis=1)  # (windows, g)
    seen = np.concatenate([real[gathered].reshape(total, -1), elsewhere], axis=1)
    return BlockPlan(cut, gathered, overall.astype(np.int64), seen)
