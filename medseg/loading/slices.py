"""Axial slices of stored cases as a map-style data set."""

from collections.abc import Sequence
from functools import cached_property, lru_cache

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from medseg.errors import UsageError
from medseg.loading.augmentation import (
    Augmentation,
    draw_displacement,
    draw_matrix,
    pixel_grid,
    vary_intensity,
)
from medseg.loading.geometry import SliceGeometry
from medseg.loading.stored_case import FULL_SCALE, StoredCase

Item = dict[str, torch.Tensor]
AUGMENTATION_STREAM, NOISE_STREAM = 1, 2  # apart from each other and from the sampler's
NOISE_LENGTH = 1 << 20


class SliceDataset(Dataset[Item]):
    """Every axial slice of some cases, resized to the network's input.

    An item is ``{"image": float32 (channels, H, W), "label": int64 (H, W)}``, the label holding
    class indices. Asked for ``index``, the data set shows the slice as it is; asked for
    ``(index, draw)``, it varies it by random numbers that depend on ``(seed, draw)`` alone,
    whichever process does the work. The samplers of ``medseg.loading.sampling`` ask the second
    way.

    Args:
        stored: Cases with labels, opened by ``medseg.loading.store.open_store``.
        geometry: From slices to the network's input.
        augment: How slices are varied; ``None`` shows all of them as they are.
        seed: First part of the random numbers.

    Raises:
        UsageError: If a case has no label.
    """

    def __init__(
        self,
        stored: Sequence[StoredCase],
        geometry: SliceGeometry,
        *,
        augment: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        unlabelled = [case.case_id for case in stored if not case.has_label]
        if unlabelled:
            raise UsageError(f"slices for training need labels; none for {', '.join(unlabelled)}")
        self.stored = list(stored)
        self.geometry = geometry
        self.augment = augment
        self.seed = seed
        self._ends = np.cumsum([case.shape[0] for case in self.stored])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int | tuple[int, int]) -> Item:
        place, draw = index if isinstance(index, tuple) else (index, None)
        case, slice_index = self.locate(place)
        augment = None if draw is None else self.augment
        rng = np.random.default_rng((AUGMENTATION_STREAM, self.seed, draw or 0))
        image, label = self._show(case, slice_index, augment, rng)
        return {"image": torch.from_numpy(image), "label": torch.from_numpy(label)}

    def __getitems__(self, indices: Sequence[int | tuple[int, int]]) -> list[Item]:
        """The items of one batch."""
        return [self[index] for index in indices]

    def locate(self, index: int) -> tuple[StoredCase, int]:
        """The case and the slice within it that ``index`` counts to.

        Raises:
            IndexError: If there are fewer slices.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        index %= len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        case = self.stored[number]
        return case, index - int(self._ends[number]) + case.shape[0]

    def _show(
        self,
        case: StoredCase,
        slice_index: int,
        augment: Augmentation | None,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        size = self.geometry.image_size
        to_slice, displacement = _slice_matrix(self.geometry, case.shape[1:]), None
        if augment is not None:
            to_slice = to_slice @ draw_matrix(augment, rng, size)
            displacement = draw_displacement(augment, rng, size)
        warp = Warp(to_slice, displacement, size)
        planes = self.geometry.slice_indices(slice_index, case.shape[0])
        image = np.empty((len(planes), *size), dtype=np.float32)
        for channel, plane in zip(image, planes, strict=True):
            np.multiply(warp.linear(case.read_image(plane)), np.float32(1 / FULL_SCALE), channel)
        label = warp.nearest(case.read_classes(slice_index)).astype(np.int64)
        if augment is not None:
            image = vary_intensity(augment, image, rng, self._noise)
        return image, label

    @cached_property
    def _noise(self) -> np.ndarray:
        height, width = self.geometry.image_size
        length = max(NOISE_LENGTH, 2 * self.geometry.channels * height * width)
        rng = np.random.default_rng((NOISE_STREAM, self.seed))
        return rng.standard_normal(length, dtype=np.float32)


class Warp:
    """Takes the pixels of an input from a slice, all changes of place at once.

    Args:
        to_slice: Affine from input pixel (h, w) to slice pixel (x, y), shape (2, 3).
        displacement: Added to the input pixel first, (w, h), float32 (H, W, 2), or ``None``.
        image_size: (H, W) of the input. Pixels outside the slice become 0.
    """

    def __init__(
        self, to_slice: np.ndarray, displacement: np.ndarray | None, image_size: tuple[int, int]
    ) -> None:
        self._size = (image_size[1], image_size[0])
        # OpenCV counts columns first: (w, h) to (y, x)
        self._matrix = to_slice[::-1][:, [1, 0, 2]]
        self._map = None
        if displacement is not None:
            moved = pixel_grid(image_size) + displacement
            self._map = cv2.transform(moved, self._matrix.astype(np.float32))

    def linear(self, plane: np.ndarray) -> np.ndarray:
        """Pixels interpolated linearly, in the slice's data type, shape (H, W)."""
        return self._warp(plane, cv2.INTER_LINEAR)

    def nearest(self, plane: np.ndarray) -> np.ndarray:
        """The nearest pixels, shape (H, W)."""
        return self._warp(plane, cv2.INTER_NEAREST)

    def _warp(self, plane: np.ndarray, interpolation: int) -> np.ndarray:
        if self._map is None:
            flags = interpolation | cv2.WARP_INVERSE_MAP
            warped = cv2.warpAffine(plane, self._matrix, self._size, flags=flags)
        else:
            warped = cv2.remap(plane, self._map, None, interpolation)
        return np.asarray(warped)


@lru_cache(maxsize=64)
def _slice_matrix(geometry: SliceGeometry, slice_shape: tuple[int, int]) -> np.ndarray:
    matrix = geometry.matrix(slice_shape)
    matrix.flags.writeable = False
    return matrix
