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
        ahead: How many windows further those lie that a window sees besides itself.
        overall: Numbers of the global tokens, shape (g,).
        seen: Which of the keys brought together for a window count: no padding, and no global
            token a second time; shape (windows, (1 + k) L + g).
    """

    cut: Cut
    ahead: tuple[int, ...]
    overall: np.ndarray
    seen: np.ndarray

    def mask(self) -> np.ndarray:
        """Who sees whom, shape (N, N)."""
        owners = self.cut.owners()
        further = (owners[None] - owners[:, None]) % len(self.seen)
        mask = np.isin(further, (0, *self.ahead))
        mask[self.overall] = mask[:, self.overall] = True
        return mask


class BlockSparse(nn.Module):
    """Every token attends to its own window, to some windows elsewhere and to global tokens.

    The windows stand in a ring, row after row, and each sees those that lie so many places
    ahead; the k distances are drawn at random, the same for every input of that grid. So every
    window is seen by as many as it sees, and gathering is rolling, whose gradient is rolling
    back. A choice by content would hang on rounding, differ between the images of a batch and
    have no gradient.

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

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid
    ) -> torch.Tensor:
        """Mix values; queries, keys, values and what comes of them have shape (B, N, M, D)."""
        plan, cut = self.plan(grid), self.plan(grid).cut
        overall = torch.from_numpy(plan.overall).to(q.device)
        seen = torch.from_numpy(plan.seen).to(q.device)[:, None, None]
        keys, values = (self._gather(part, plan) for part in (k, v))
        mixed = cut.merge(self.mixing(cut.split(q), keys, values, mask=seen), q.shape[0])
        if not len(overall):
            return mixed
        of_all = [part.transpose(1, 2) for part in (q[:, overall], k, v)]
        return mixed.index_copy(1, overall, self.overall_mixing(*of_all).transpose(1, 2))

    def mask_of(self, grid: Grid) -> np.ndarray:
        """Who sees whom, shape (N, N)."""
        return self.plan(grid).mask()

    @staticmethod
    def _gather(tokens: torch.Tensor, plan: BlockPlan) -> torch.Tensor:
        """All keys (or values) of each window side by side, shape (windows, B·M, K, D)."""
        overall = torch.from_numpy(plan.overall).to(tokens.device)
        own = plan.cut.split(tokens)  # (windows, B·M, L, D)
        found = [own, *(own.roll(-length, 0) for length in plan.ahead)]
        special = tokens[:, overall].transpose(1, 2).flatten(0, 1)  # (B·M, g, D)
        return torch.cat([*found, special.expand(own.shape[0], -1, -1, -1)], dim=2)


@lru_cache(maxsize=64)
def plan_blocks(
    grid: Grid, window: Grid, gathered_blocks: int, global_tokens: int, seed: int
) -> BlockPlan:
    """What the windows of a grid look at; the arguments are those of :class:`BlockSparse`."""
    cut = windows(grid, window=window)
    total = int(np.prod(cut.counts))
    rng = np.random.default_rng([seed, *grid])
    ahead = tuple(int(n) for n in 1 + rng.permutation(total - 1)[:gathered_blocks])
    gathered = (np.arange(total)[:, None] + (0, *ahead)) % total  # (windows, 1 + k)

    places = []
    for size in grid:
        count = min(global_tokens, size)
        places.append((2 * np.arange(count) + 1) * size // (2 * max(count, 1)))
    overall = np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), grid).ravel()

    real = cut.real()  # (windows, L)
    elsewhere = (cut.owners()[overall] != gathered[:, :, None]).all(axis=1)  # (windows, g)
    seen = np.concatenate([real[gathered].reshape(total, -1), elsewhere], axis=1)
    return BlockPlan(cut, ahead, overall.astype(np.int64), seen)
