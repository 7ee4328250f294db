"""One preprocessed case on disk, read slice by slice."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.volumes import spacing_of

IMAGES, CLASSES, COUNTS, CARD = "images.npy", "classes.npy", "counts.npy", "case.json"
FULL_SCALE = 65535  # the stored integer that stands for an intensity of 1


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A case of the slice store: axial slices first, lowest first; files opened when read.

    Nothing stays open between reads, so any number of cases can be held, and one is cheap to
    send to a worker process.

    Attributes:
        case_id: Id of the case it was made from.
        folder: Where its arrays are.
        shape: (Z, X, Y).
        affine: Index (x, y, z) to millimetres in RAS world space, shape (4, 4).
        num_classes: Classes with background.
        has_label: Whether there are ``classes``.
        offsets: Bytes before the first slice in the image and the class file.
    """

    case_id: str
    folder: Path
    shape: tuple[int, int, int]
    affine: np.ndarray
    num_classes: int
    has_label: bool
    offsets: tuple[int, int]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along x, y and z, in mm."""
        return spacing_of(self.affine)

    @property
    def images(self) -> np.ndarray:
        """All slices, float32 in [0, 1], shape (Z, X, Y); read into memory."""
        images: np.ndarray = np.asarray(self.packed, dtype=np.float32)
        images *= np.float32(1 / FULL_SCALE)
        return images

    @property
    def packed(self) -> np.ndarray:
        """All slices as stored, uint16 with ``FULL_SCALE`` for 1, memory-mapped (Z, X, Y)."""
        packed: np.ndarray = np.load(self.folder / IMAGES, mmap_mode="r")
        return packed

    @property
    def classes(self) -> np.ndarray | None:
        """Class indices, uint8 (uint16 beyond 255 organs), memory-mapped (Z, X, Y)."""
        if not self.has_label:
            return None
        classes: np.ndarray = np.load(self.folder / CLASSES, mmap_mode="r")
        return classes

    @property
    def counts(self) -> np.ndarray:
        """Voxels of each class in each slice, int64 (Z, num_classes); zeros without label.

        Raises:
            InputError: If the case is no longer in the store.
        """
        if not self.has_label:
            return np.zeros((self.shape[0], self.num_classes), dtype=np.int64)
        try:
            counts: np.ndarray = np.load(self.folder / COUNTS)
        except FileNotFoundError as error:
            got = "none; was the store pruned meanwhile?"
            raise InputError(self.folder / COUNTS, "the counts of a stored case", got) from error
        return counts

    def read_image(self, slice_index: int) -> np.ndarray:
        """One slice as stored, uint16 (X, Y), by one contiguous read.

        Raises:
            InputError: If the case is no longer in the store.
        """
        return self._read(IMAGES, self.offsets[0], np.dtype(np.uint16), slice_index)

    def read_classes(self, slice_index: int) -> np.ndarray:
        """Class indices of one slice, (X, Y), by one contiguous read.

        Raises:
            InputError: If the case is no longer in the store.
        """
        dtype = np.dtype(np.uint8 if self.num_classes <= 256 else np.uint16)
        return self._read(CLASSES, self.offsets[1], dtype, slice_index)

    def read_box(self, box: tuple[slice, slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        """Image as stored, uint16, and class indices within a box along (z, x, y).

        Raises:
            InputError: If the case is no longer in the store.
        """
        try:
            packed, classes = self.packed[box], self.classes
        except (FileNotFoundError, ValueError) as error:
            got = "none; was the store pruned meanwhile?"
            raise InputError(self.folder, "the arrays of a stored case", got) from error
        if classes is None:
            raise InputError(self.folder, "a stored case with classes", "one without")
        return np.asarray(packed), np.asarray(classes[box])

    def _read(self, name: str, offset: int, dtype: np.dtype, slice_index: int) -> np.ndarray:
        _, height, width = self.shape
        size = height * width
        start = offset + slice_index * size * dtype.itemsize
        try:
            pixels = np.fromfile(self.folder / name, dtype, count=size, offset=start)
        except FileNotFoundError:
            pixels = np.empty(0, dtype)
        if len(pixels) != size:
            got = f"{len(pixels)}; was the store pruned meanwhile?"
            raise InputError(self.folder / name, f"{size} pixels of slice {slice_index}", got)
        return pixels.reshape(height, width)


def read_entry(folder: Path, case_id: str) -> StoredCase | None:
    """The case in a store folder, or ``None`` if it is not there whole."""
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_bytes())
        for name, size in card["sizes"].items():
            if (folder / name).stat().st_size != size:
                return None
        depth, height, width = card["shape"]
        return StoredCase(
            case_id=case_id,
            folder=folder,
            shape=(depth, height, width),
            affine=np.asarray(card["affine"], dtype=float),
            num_classes=int(card["num_classes"]),
            has_label=CLASSES in card["sizes"],
            offsets=(card["offsets"][IMAGES], card["offsets"].get(CLASSES, 0)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
