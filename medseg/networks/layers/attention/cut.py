"""A grid of tokens cut into groups of equal size: windows, rows, planes or dilated grids."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from medseg.networks.layers.attention.rolling import roll
from medseg.networks.layers.grid import Grid


@dataclass(frozen=True)
class Cut:
    """Which tokens of a grid form a group.

    Along an axis that the groups do not divide, the grid is padded at its end. No token sees
    padding, and no group is padding alone.

    Attributes:
        grid: Tokens along each axis.
        group: Tokens of one group along each axis, at most those of the grid.
        shift: How far the borders of the groups are moved along each axis. What they cut off
            at the two ends of an axis shares a group's place without seeing each other.
        dilated: Whether a group's tokens are spread evenly over the grid instead of side by side.
    """

    grid: Grid
    group: Grid
    shift: Grid
    dilated: bool = False

    @property
    def counts(self) -> Grid:
        """Groups along each axis."""
        return tuple(-(-size // own) for size, own in zip(self.grid, self.group, strict=True))

    @property
    def padded(self) -> Grid:
        """Places along each axis, padding included."""
        return tuple(n * own for n, own in zip(self.counts, self.group, strict=True))

    def split(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of shape (B, N, M, D) to groups of shape (groups, B·M, L, D)."""
        batch, _, own, width = tokens.shape
        image = tokens.reshape(batch, *self.grid, own, width)
        if self.grid != self.padded:  # a pad by nothing would copy
            image = F.pad(image, (0,) * 4 + _ends(self.grid, self.padded))
        if any(self.shift):
            image = roll(image, [-size for size in self.shift])
        image = image.reshape(batch, *self._places(), own, width).permute(self._order())
        return image.reshape(math.prod(self.counts), batch * own, -1, width)

    def merge(self, groups: torch.Tensor, batch: int) -> torch.Tensor:
        """Groups of shape (groups, B·M, L, D) back to tokens of shape (B, N, M, D)."""
        axes, width = len(self.grid), groups.shape[-1]
        image = groups.reshape(*self.counts, batch, -1, *self.group, width)
        back = sorted(range(image.ndim), key=self._order().__getitem__)
        image = image.permute(back).reshape(batch, *self.padded, -1, width)
        if any(self.shift):
            image = roll(image, self.shift)
        for axis, size in enumerate(self.grid, start=1):
            image = image.narrow(axis, 0, size)
        return image.flatten(1, axes)  # (B, N, M, D)

    def mask(self, device: torch.device) -> torch.Tensor | None:
        """Who sees whom, shape (groups, 1, L or 1, L); ``None`` if all of each group do."""
        mask = _mask_within(self)
        return None if mask is None else torch.from_numpy(mask).to(device)

    def real(self) -> np.ndarray:
        """Which places of the groups hold tokens and no padding, shape (groups, L)."""
        return _of_places(self) > 0

    def owners(self) -> np.ndarray:
        """Of which group each token is, shape (N,); tokens of one group see each other.

        Without a shift, groups are numbered as :meth:`split` puts them in order.
        """
        numbers = []
        for size, own, count, shift in zip(
            self.grid, self.group, self.counts, self.shift, strict=True
        ):
            place = np.arange(size)
            ahead = int(shift > 0)  # then the first tokens of the axis are a group of their own
            numbers.append(place % count if self.dilated else (place - shift) // own + ahead)
        wide = [count + (shift > 0) for count, shift in zip(self.counts, self.shift, strict=True)]
        return np.ravel_multi_index(np.meshgrid(*numbers, indexing="ij"), wide).ravel()

    def _places(self) -> Sequence[int]:
        """Each axis as two: windows and places in them, or, dilated, the other way round."""
        pairs = zip(self.counts, self.group, strict=True)
        return [size for pair in pairs for size in (reversed(pair) if self.dilated else pair)]

    def _order(self) -> list[int]:
        """Dimensions of (B, *places, M, D) as (*counts, B, M, *group, D)."""
        heads = 2 * len(self.grid) + 1
        counts = range(1 + self.dilated, heads, 2)
        members = range(2 - self.dilated, heads, 2)
        return [*counts, 0, heads, *members, heads + 1]


def windows(grid: Grid, *, window: Grid, shifted: bool = False) -> Cut:
    """As few windows as can be, of tokens side by side, and as small as that number allows.

    Args:
        grid: Tokens along each axis.
        window: Most tokens of a window along each axis.
        shifted: Whether the windows lie half a window further, along every axis that has more
            than one.

    Source:
        Liu et al., Swin, arXiv:2103.14030; even windows are ours, so that little is padded.
    """
    counts = [-(-size // most) for size, most in zip(grid, window, strict=True)]
    group = tuple(-(-size // n) for size, n in zip(grid, counts, strict=True))
    shift = tuple(
        own // 2 if shifted and n > 1 else 0 for own, n in zip(group, counts, strict=True)
    )
    return Cut(grid, group, shift)


def dilated(grid: Grid, *, window: Grid) -> Cut:
    """Groups of as many tokens as a window, each spread evenly over the whole grid.

    Source:
        The grid attention of Tu et al., MaxViT, arXiv:2204.01697.
    """
    group = tuple(min(size, most) for size, most in zip(grid, window, strict=True))
    return Cut(grid, group, (0,) * len(grid), dilated=True)


def along(grid: Grid, *, axes: tuple[int, ...]) -> Cut:
    """Groups that are whole along some axes: rows along one, planes along two.

    Source:
        Rows: Ho et al., Axial Attention, arXiv:1912.12180, without its causal mask.
    """
    group = tuple(size if axis in axes else 1 for axis, size in enumerate(grid))
    return Cut(grid, group, (0,) * len(grid))


@lru_cache(maxsize=16)
def _mask_within(cut: Cut) -> np.ndarray | None:
    """As an array, since that belongs to no device and no mode of PyTorch."""
    if not any(cut.shift):  # a query that is padding may see what it likes
        return None if cut.grid == cut.padded else cut.real()[:, None, None, :]
    groups = _of_places(cut)
    return np.asarray(groups[:, None, :, None] == groups[:, None, None, :])


def _of_places(cut: Cut) -> np.ndarray:
    """Of which group each place of each group is, from 1, and 0 for padding; (groups, L)."""
    owners = torch.from_numpy(cut.owners() + 1).view(1, -1, 1, 1)
    return np.asarray(cut.split(owners)[:, 0, :, 0])


def _ends(grid: Grid, padded: Grid) -> tuple[int, ...]:
    """What ``F.pad`` wants to hear to bring a grid to a larger one, last axis first."""
    pairs = zip(reversed(grid), reversed(padded), strict=True)
    return tuple(size for own, wide in pairs for size in (0, wide - own))
