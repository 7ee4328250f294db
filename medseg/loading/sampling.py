"""Which slices or patches an epoch shows, and in which order; decided by (seed, epoch) alone.

A sampler yields ``(index, draw)``: the slice, and a number that no other draw of the training
has, from which ``SliceDataset`` makes the slice's augmentation. That of patches yields
``(case, class, draw)``, for ``medseg.loading.patches.PatchDataset``.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from medseg.errors import UsageError
from medseg.loading.stored_case import StoredCase

Draw = tuple[int, int, int]  # case, class that the patch shall show (0 for none), number
SAMPLING_STREAM = 0  # apart from the augmentation's random numbers


class ShuffledSampler(Sampler[tuple[int, int]]):
    """Every slice once per epoch, in random order.

    Args:
        length: Slices in the data set.
        seed: Decides the orders, together with the epoch.
    """

    def __init__(self, length: int, *, seed: int = 0) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = _generator(self.seed, self.epoch).permutation(self.length)
        return _with_draws(order, self.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, counted from 1; without it, the same comes again."""
        self.epoch = epoch


class ClassAwareSampler(Sampler[tuple[int, int]]):
    """Random slices, a share of them chosen so that rare organs are seen as often as large ones.

    For that share, a class is drawn first, uniformly among those that occur in the data set,
    then one of the slices that show it; the other draws are uniform over all slices.

    Args:
        stored: The cases of the data set, in its order.
        draws: Slices per epoch.
        foreground: The share drawn by class, 0 to 1.
        seed: Decides the draws, together with the epoch.

    Raises:
        UsageError: If there is nothing to draw from.
    """

    def __init__(
        self, stored: Sequence[StoredCase], *, draws: int, foreground: float = 0.5, seed: int = 0
    ) -> None:
        if not 0 <= foreground <= 1:
            raise UsageError(f"foreground must lie in 0..1, got {foreground}")
        if draws < 1 or not stored:
            raise UsageError(f"expected slices to draw, got {len(stored)} cases, {draws} draws")
        shown = np.concatenate([case.counts for case in stored])[:, 1:] > 0
        self.slices_of_class = [np.flatnonzero(column) for column in shown.T if column.any()]
        self.length = len(shown)
        self.draws = draws
        self.foreground = foreground if self.slices_of_class else 0.0
        self.seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return self.draws

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = _generator(self.seed, self.epoch)
        order = rng.integers(self.length, size=self.draws)
        by_class = np.flatnonzero(rng.random(self.draws) < self.foreground)
        if len(by_class):
            classes = rng.integers(len(self.slices_of_class), size=len(by_class))
            order[by_class] = [rng.choice(self.slices_of_class[chosen]) for chosen in classes]
        return _with_draws(order, self.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, counted from 1; without it, the same comes again."""
        self.epoch = epoch


class PatchSampler(Sampler[Draw]):
    """Random cases, and for a share of the patches a class that they shall show.

    For that share a class is drawn first, uniformly among the organs that occur, then one of the
    cases that have it: rare organs are seen as often as large ones.

    Args:
        stored: The cases of the data set, in its order.
        draws: Patches per epoch.
        foreground: The share drawn by class, 0 to 1.
        seed: Decides the draws, together with the epoch.

    Raises:
        UsageError: If there is nothing to draw from.
    """

    def __init__(
        self, stored: Sequence[StoredCase], *, draws: int, foreground: float = 0.5, seed: int = 0
    ) -> None:
        if not 0 <= foreground <= 1:
            raise UsageError(f"foreground must lie in 0..1, got {foreground}")
        if draws < 1 or not stored:
            raise UsageError(f"expected patches to draw, got {len(stored)} cases, {draws} draws")
        shown = np.stack([case.counts.sum(axis=0) > 0 for case in stored])  # (cases, classes)
        self.cases_of_class = {
            int(index): np.flatnonzero(shown[:, index])
            for index in range(1, shown.shape[1])
            if shown[:, index].any()
        }
        self.length = len(stored)
        self.draws = draws
        self.foreground = foreground if self.cases_of_class else 0.0
        self.seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return self.draws

    def __iter__(self) -> Iterator[Draw]:
        rng = _generator(self.seed, self.epoch)
        classes = list(self.cases_of_class)
        first = self.epoch * self.draws
        for draw in range(first, first + self.draws):
            wanted, case = 0, int(rng.integers(self.length))
            if rng.random() < self.foreground:
                wanted = classes[int(rng.integers(len(classes)))]
                case = int(rng.choice(self.cases_of_class[wanted]))
            yield case, wanted, draw

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, counted from 1; without it, the same comes again."""
        self.epoch = epoch


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng((SAMPLING_STREAM, seed, epoch))


def _with_draws(order: np.ndarray, epoch: int) -> Iterator[tuple[int, int]]:
    first = epoch * len(order)
    return zip(order.tolist(), range(first, first + len(order)), strict=True)
