"""The training loader, made repeatable: what an epoch brings depends on the seed and its number."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ignite.utils import manual_seed
from torch.utils.data import DataLoader

from medseg.training.checkpoints import random_state, set_random_state


class Batches:
    """Batches of one epoch after another, for the trainer.

    All random generators are seeded anew for every epoch, so that neither the number of
    workers nor a stop between two epochs changes anything. Within an epoch a resumed training
    passes over the batches it has had.

    Args:
        loader: Its sampler or batch sampler is told the epoch by ``set_epoch``, if it has one.
        seed: Seed of the training.
        skip: Batches of the first epoch to pass over.
    """

    def __init__(self, loader: "DataLoader[Any]", seed: int, *, skip: int = 0) -> None:
        self.loader = loader
        self.seed = seed
        self.skip = skip
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, counted from 1."""
        self.epoch = epoch
        for sampler in {id(part): part for part in _samplers(self.loader)}.values():
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        seed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        skip, self.skip = self.skip, 0
        resumed = random_state() if skip else None
        manual_seed(seed)
        iterator = iter(self.loader)
        manual_seed(seed)  # making the iterator draws, how often depends on the workers
        for _ in range(skip):
            next(iterator)
        if resumed is not None:
            set_random_state(resumed)
        yield from iterator


def _samplers(loader: "DataLoader[Any]") -> list[Any]:
    return [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
