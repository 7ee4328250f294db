"""3D patches of stored cases as a map-style data set, and their training batches."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from medseg.case import Case
from medseg.errors import UsageError
from medseg.loading.geometry import PatchGeometry
from medseg.loading.loaders import loader_of
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.sampling import Draw, PatchSampler
from medseg.loading.slices import AUGMENTATION_STREAM, NOISE_LENGTH, NOISE_STREAM, Item
from medseg.loading.store import open_store
from medseg.loading.stored_case import FULL_SCALE, StoredCase
from medseg.loading.volume_augmentation import (
    VolumeAugmentation,
    draw_volume_displacement,
    draw_volume_matrix,
    draw_volume_shift,
    vary_volume,
)

Box = tuple[slice, slice, slice]
JITTER = 0.25  # of the patch, about a voxel that it shall show


class PatchDataset(Dataset[Item]):
    """Random patches of some cases.

    An item is ``{"image": float32 (1, X, Y, Z), "label": int64 (X, Y, Z)}``, the label holding
    class indices. Asked for ``(case, class, draw)``, the data set shows a place of that case,
    within reach of a voxel of that class unless it is 0, by random numbers that depend on
    ``(seed, draw)`` alone, whichever process does the work.

    Args:
        stored: Cases with labels, opened by ``medseg.loading.store.open_store``.
        geometry: Size of the patches.
        augment: How patches are varied; ``None`` shows them as they are.
        seed: First part of the random numbers.

    Raises:
        UsageError: If a case has no label.
    """

    def __init__(
        self,
        stored: Sequence[StoredCase],
        geometry: PatchGeometry,
        *,
        augment: VolumeAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        unlabelled = [case.case_id for case in stored if not case.has_label]
        if unlabelled:
            raise UsageError(f"patches for training need labels; none for {', '.join(unlabelled)}")
        self.stored = list(stored)
        self.geometry = geometry
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, drawn: Draw) -> Item:
        number, wanted, draw = drawn
        case = self.stored[number]
        rng = np.random.default_rng((AUGMENTATION_STREAM, self.seed, draw))
        corner = self._corner(case, wanted, rng)
        if self.augment is None:
            image, label = self._cut(case, corner)
        else:
            image, label = self._warped(case, corner, self.augment, rng)
            image = vary_volume(self.augment, image, rng, self._noise)
        return {"image": torch.from_numpy(image)[None], "label": torch.from_numpy(label)}

    def _corner(self, case: StoredCase, wanted: int, rng: np.random.Generator) -> np.ndarray:
        """Voxel (x, y, z) of the volume at which the patch begins; below 0 where it is larger."""
        depth, *plane = case.shape
        room = np.array([*plane, depth]) - self.geometry.patch_size
        corner = np.rint(rng.random(3) * room).astype(int)
        if wanted:
            size = np.asarray(self.geometry.patch_size)
            off_centre = rng.uniform(-JITTER, JITTER, size=3) * size
            place = _voxel_of(case, wanted, rng) - np.floor(size / 2 + off_centre).astype(int)
            corner = np.where(room > 0, np.clip(place, 0, np.maximum(room, 0)), corner)
        return corner if self.augment else np.where(room > 0, corner, 0)

    def _cut(self, case: StoredCase, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = np.asarray(self.geometry.patch_size)
        box, _ = _within(case, corner, corner + size)
        image, label = (array.transpose(1, 2, 0) for array in _read(case, box))
        missing = [(0, int(n - s)) for n, s in zip(size, image.shape, strict=True)]
        return np.pad(image, missing), np.pad(label, missing).astype(np.int64)

    def _warped(
        self,
        case: StoredCase,
        corner: np.ndarray,
        augment: VolumeAugmentation,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        size = self.geometry.patch_size
        matrix = draw_volume_matrix(augment, rng, case.spacing)
        shift = draw_volume_shift(augment, rng, size)
        moved = draw_volume_displacement(augment, rng, size, case.spacing)
        middle = (np.asarray(size) - 1) / 2
        centre = corner + middle + shift
        reach = np.abs(matrix) @ middle + (0 if moved is None else float(moved.abs().max()))
        box, first = _within(case, np.floor(centre - reach), np.ceil(centre + reach) + 1)
        image, label = _read(case, box)
        if not image.size:  # shifted out of the volume
            return np.zeros(size, np.float32), np.zeros(size, np.int64)
        grid = _grid(matrix, centre - first, image.shape, size, moved)
        warped = _sample(image, grid, "bilinear")
        return warped, np.rint(_sample(label.astype(np.float32), grid, "nearest")).astype(np.int64)

    @cached_property
    def _noise(self) -> np.ndarray:
        length = max(NOISE_LENGTH, 2 * int(np.prod(self.geometry.patch_size)))
        rng = np.random.default_rng((NOISE_STREAM, self.seed))
        return rng.standard_normal(length, dtype=np.float32)


def patch_train_loader(
    cases: Sequence[Case],
    labels: Mapping[str, int],
    preprocessing: Preprocessing,
    geometry: PatchGeometry,
    *,
    batch_size: int,
    batches_per_epoch: int,
    foreground: float = 0.5,
    augment: VolumeAugmentation | Mapping[str, Any] | None = None,
    seed: int = 0,
    workers: int = 0,
) -> DataLoader[Item]:
    """Open the cases in the default store and load training batches of patches from them.

    Args:
        cases: Cases with labels.
        labels: Organ → value; class k is the k-th organ.
        preprocessing: What is done to every volume.
        geometry: Size of the patches.
        batch_size: Patches per batch.
        batches_per_epoch: Batches per epoch.
        foreground: Share of patches drawn so that every organ is seen equally often.
        augment: How patches are varied, also as a mapping of ``VolumeAugmentation``'s arguments.
        seed: Of places and augmentation.
        workers: Processes that prepare batches, and missing cases of the store.

    Raises:
        InputError: If cases cannot be used; it names all of them.
        ResourceError: If memory or disk ran out.
    """
    stored = open_store(cases, preprocessing, labels, workers=max(1, workers))
    return patch_loader(
        stored,
        geometry,
        batch_size=batch_size,
        batches_per_epoch=batches_per_epoch,
        foreground=foreground,
        augment=augment,
        seed=seed,
        workers=workers,
    )


def patch_loader(
    stored: Sequence[StoredCase],
    geometry: PatchGeometry,
    *,
    batch_size: int,
    batches_per_epoch: int,
    foreground: float = 0.5,
    augment: VolumeAugmentation | Mapping[str, Any] | None = None,
    seed: int = 0,
    workers: int = 0,
) -> DataLoader[Item]:
    """Load training batches from stored cases; the arguments are :func:`patch_train_loader`'s.

    Call ``loader.sampler.set_epoch(epoch)`` before each epoch, counted from 1: its patches and
    their augmentation depend on (seed, epoch) alone, not on what ran before.

    Returns:
        A loader of ``{"image": float32 (B, 1, X, Y, Z), "label": int64 (B, X, Y, Z)}``.

    Raises:
        UsageError: If a case has no label, or the numbers do not make sense.
    """
    if batch_size < 1 or batches_per_epoch < 1:
        raise UsageError(f"expected batches of patches, got {batches_per_epoch} of {batch_size}")
    if isinstance(augment, Mapping):
        try:
            augment = VolumeAugmentation(**augment)
        except TypeError as error:
            raise UsageError(f"augment: {error}") from error
    dataset = PatchDataset(stored, geometry, augment=augment, seed=seed)
    draws = batches_per_epoch * batch_size
    sampler = PatchSampler(stored, draws=draws, foreground=foreground, seed=seed)
    return loader_of(dataset, sampler, batch_size=batch_size, seed=seed, workers=workers)


def _voxel_of(case: StoredCase, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """A random voxel (x, y, z) of a class; one slice is read to find it."""
    counts = case.counts[:, wanted].astype(float)
    z = int(rng.choice(len(counts), p=counts / counts.sum()))
    places = np.flatnonzero(case.read_classes(z) == wanted)
    x, y = np.unravel_index(int(rng.choice(places)), case.shape[1:])
    return np.array([x, y, z])


def _within(case: StoredCase, first: np.ndarray, end: np.ndarray) -> tuple[Box, np.ndarray]:
    """What of a box lies in the volume, as slices along (x, y, z), and where that begins."""
    depth, *plane = case.shape
    shape = np.array([*plane, depth])
    low = np.clip(first, 0, shape).astype(int)
    high = np.maximum(np.clip(end, 0, shape).astype(int), low)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return (x, y, z), low


def _read(case: StoredCase, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Image, float32 in [0, 1], and classes within a box along (x, y, z), as stored: (z, x, y)."""
    x, y, z = box
    packed, classes = case.read_box((z, x, y))
    return packed.astype(np.float32) * np.float32(1 / FULL_SCALE), classes


def _grid(
    matrix: np.ndarray,
    centre: np.ndarray,
    shape: tuple[int, ...],
    size: Sequence[int],
    moved: torch.Tensor | None,
) -> torch.Tensor:
    """Where each voxel (x, y, z) of a patch lies in an array (z, x, y); (1, X, Y, Z, 3).

    The array is left as it is stored: ``grid_sample`` counts its last axis first, so y, x, z.
    """
    sides = np.array([shape[1], shape[2], shape[0]], dtype=float)
    steps = [
        torch.from_numpy(np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)) for n in size
    ]
    along = [steps[0].view(-1, 1, 1), steps[1].view(-1, 1), steps[2]]
    grid = torch.empty((1, *size, 3))
    for place, axis in enumerate((1, 0, 2)):
        scale = 2 / sides[axis]
        row = (matrix[axis] * scale).tolist()
        first = float((2 * centre[axis] + 1) / sides[axis] - 1)
        where = (along[0] * row[0] + along[1] * row[1] + first) + along[2] * row[2]
        if moved is not None:
            where += moved[axis] * scale
        grid[0, ..., place] = where
    return grid


def _sample(array: np.ndarray, grid: torch.Tensor, mode: str) -> np.ndarray:
    volume = torch.from_numpy(array)[None, None]
    found = F.grid_sample(volume, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return np.asarray(found[0, 0].numpy())
