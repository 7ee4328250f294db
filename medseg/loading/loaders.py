"""Batches for training, the same for any number of worker processes."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from medseg.case import Case
from medseg.errors import UsageError
from medseg.loading.augmentation import Augmentation
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.sampling import ClassAwareSampler, ShuffledSampler
from medseg.loading.slices import Item, SliceDataset
from medseg.loading.store import open_store
from medseg.loading.stored_case import StoredCase

Augment = Augmentation | Mapping[str, Any] | None


def train_loader(
    cases: Sequence[Case],
    labels: Mapping[str, int],
    preprocessing: Preprocessing,
    geometry: SliceGeometry,
    *,
    batch_size: int,
    batches_per_epoch: int | None = None,
    foreground: float = 0.5,
    augment: Augment = None,
    seed: int = 0,
    workers: int = 0,
) -> DataLoader[Item]:
    """Open the cases in the default slice store and load training batches from them.

    To choose the store's folder or to follow its progress, call
    ``medseg.loading.store.open_store`` and :func:`slice_loader` instead.

    Args:
        cases: Cases with labels.
        labels: Organ → value; class k is the k-th organ.
        preprocessing: What is done to every volume.
        geometry: From slices to the network's input.
        batch_size: Slices per batch.
        batches_per_epoch: As in :func:`slice_loader`.
        foreground: As in :func:`slice_loader`.
        augment: As in :func:`slice_loader`.
        seed: As in :func:`slice_loader`.
        workers: Processes that prepare batches, and missing cases of the store.

    Raises:
        InputError: If cases cannot be used; it names all of them.
        ResourceError: If memory or disk ran out.
    """
    stored = open_store(cases, preprocessing, labels, workers=max(1, workers))
    return slice_loader(
        stored,
        geometry,
        batch_size=batch_size,
        batches_per_epoch=batches_per_epoch,
        foreground=foreground,
        augment=augment,
        seed=seed,
        workers=workers,
    )


def slice_loader(
    stored: Sequence[StoredCase],
    geometry: SliceGeometry,
    *,
    batch_size: int,
    batches_per_epoch: int | None = None,
    foreground: float = 0.5,
    augment: Augment = None,
    seed: int = 0,
    workers: int = 0,
) -> DataLoader[Item]:
    """Load training batches from stored cases.

    Call ``loader.sampler.set_epoch(epoch)`` before each epoch, counted from 1: its slices, their
    order and their augmentation depend on (seed, epoch) alone, not on what ran before.

    Args:
        stored: Cases with labels.
        geometry: From slices to the network's input.
        batch_size: Slices per batch.
        batches_per_epoch: Batches per epoch, of slices drawn with ``foreground``; ``None`` shows
            every slice once per epoch, the last batch being smaller if they do not divide.
        foreground: Share of slices drawn so that every organ is seen equally often.
        augment: How slices are varied, also as a mapping of ``Augmentation``'s arguments.
        seed: Of order and augmentation.
        workers: Processes that prepare batches; 0 prepares them in this one. They are started
            afresh, so a script that asks for them needs ``if __name__ == "__main__":``.

    Returns:
        A loader of ``{"image": float32 (B, channels, H, W), "label": int64 (B, H, W)}``.

    Raises:
        UsageError: If a case has no label, or the numbers do not make sense.
    """
    if batch_size < 1 or (batches_per_epoch is not None and batches_per_epoch < 1):
        raise UsageError(f"expected batches of slices, got {batches_per_epoch} of {batch_size}")
    dataset = SliceDataset(stored, geometry, augment=_augmentation(augment), seed=seed)
    sampler: ShuffledSampler | ClassAwareSampler
    if batches_per_epoch is None:
        sampler = ShuffledSampler(len(dataset), seed=seed)
    else:
        draws = batches_per_epoch * batch_size
        sampler = ClassAwareSampler(stored, draws=draws, foreground=foreground, seed=seed)
    return loader_of(dataset, sampler, batch_size=batch_size, seed=seed, workers=workers)


def loader_of(
    dataset: Dataset[Item],
    sampler: Sampler[Any],
    *,
    batch_size: int,
    seed: int,
    workers: int,
) -> DataLoader[Item]:
    """A loader whose random numbers are its data set's, and whose processes start afresh."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(seed),  # leaves torch's own numbers untouched
    )


def _augmentation(augment: Augment) -> Augmentation | None:
    if not isinstance(augment, Mapping):
        return augment
    try:
        return Augmentation(**augment)
    except TypeError as error:
        raise UsageError(f"augment: {error}") from error


def _start_worker(_: int) -> None:
    """Keep OpenCV to one thread: the workers already share the cores."""
    cv2.setNumThreads(0)
