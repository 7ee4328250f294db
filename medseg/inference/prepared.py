"""Prepared slices of a volume, made when they are asked for."""

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medseg.inference.grids import Placing, placing_of, plane_grid, sample
from medseg.loading.preprocessing import (
    Preprocessing,
    limits_of,
    prepare_image,
    scaled,
    wanted_spacing,
)
from medseg.volumes import Volume


class PreparedSlices:
    """What :func:`prepare_image` makes of a volume, slice by slice.

    The voxels stay as they are in the file, in its data type, and become float32 only where a
    slice is asked for. Grids that are sheared, and exposures, are prepared as a whole.

    Args:
        volume: As read from a file, all voxels finite.
        preprocessing: What to do.

    Attributes:
        shape: Axial slices first, (Z, X, Y).
        affine: Of the prepared volume, voxel (x, y, z) to RAS millimetres.
    """

    def __init__(self, volume: Volume, preprocessing: Preprocessing) -> None:
        self._limits: tuple[float, float] | None = None
        orientation = io_orientation(volume.affine)
        own = volume.affine @ inv_ornt_aff(orientation, volume.array.shape)
        turned = apply_orientation(volume.array, orientation)
        self.affine, shape = prepared_grid(own, turned.shape, preprocessing)
        unchanged = wanted_spacing(own, preprocessing) is None
        placing = Placing.same() if unchanged else placing_of(self.affine, own, shape)
        if preprocessing.sky is not None or placing is None:
            prepared = prepare_image(volume, preprocessing)
            x, y, z = prepared.array.shape
            shape, self.affine = (x, y, z), prepared.affine
            turned, placing = prepared.array, Placing.same()
        else:
            self._limits = limits_of(volume.array, preprocessing)
        self.shape = (shape[2], shape[0], shape[1])
        self._placing = placing
        self._slices = _slices_first(turned)
        self._grid = plane_grid(self._slices.shape[1:], placing, self.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Slices, float32; indices of any shape (...) give (..., X, Y)."""
        wanted, places = np.unique(indices, return_inverse=True)
        found = self._make(wanted)
        return found[places.reshape(np.shape(indices))]

    def _make(self, indices: np.ndarray) -> np.ndarray:
        if self._placing.is_same:
            return self._scaled(indices)
        low, high, weight = self._placing.along_z(indices, len(self._slices))
        needed, places = np.unique(np.concatenate([low, high]), return_inverse=True)
        slices = torch.from_numpy(self._scaled(needed))
        below, above = slices[places[: len(low)]], slices[places[len(low) :]]
        mixed = torch.lerp(below, above, torch.from_numpy(weight)[:, None, None])
        if self._grid is not None:
            mixed = sample(mixed[:, None], self._grid, "border")[:, 0]
        return np.asarray(mixed.numpy())

    def _scaled(self, indices: np.ndarray) -> np.ndarray:
        slices = np.ascontiguousarray(self._slices[indices])
        return slices if self._limits is None else scaled(slices, *self._limits)


def prepared_grid(
    affine: np.ndarray, shape: tuple[int, ...], preprocessing: Preprocessing
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape that :func:`prepare_image` gives a volume in RAS orientation."""
    wanted = wanted_spacing(affine, preprocessing)
    if wanted is None:
        return np.asarray(affine, dtype=float), (shape[0], shape[1], shape[2])
    empty = torch.zeros(1).expand(1, *shape)  # takes no memory
    grid = Spacing(wanted)(MetaTensor(empty, affine=torch.as_tensor(affine)), lazy=True)
    x, y, z = (int(size) for size in grid.peek_pending_shape())
    return np.asarray(grid.peek_pending_affine(), dtype=float), (x, y, z)


def _slices_first(turned: np.ndarray) -> np.ndarray:
    """Axial slices first; copied where neighbouring slices lie next to each other in memory."""
    slices = turned.transpose(2, 0, 1)
    strides = [abs(stride) for stride in slices.strides]
    return np.ascontiguousarray(slices) if strides[0] < max(strides[1:]) else slices
