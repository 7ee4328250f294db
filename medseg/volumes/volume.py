"""A volume with its geometry: the array as the file has it, and where its voxels lie."""

from dataclasses import dataclass

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the world axes of DICOM and ITK to those of NIfTI, and back."""


@dataclass(frozen=True)
class Volume:
    """A 3D array and its place in the world.

    Attributes:
        array: Shape (I, J, K), axes in the order of the file.
        affine: Voxel index to millimetres in RAS world space, float64, shape (4, 4).
    """

    array: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each axis of ``array``, in mm."""
        return spacing_of(self.affine)


@dataclass(frozen=True)
class Header:
    """What a file says of its volume without its voxels being read.

    Attributes:
        shape: As stored; a label or image of another dimensionality than three shows here.
        affine: As in :class:`Volume`.
        dtype: Type of the stored numbers.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each axis, in mm."""
        return spacing_of(self.affine)


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Distance between voxel centres along each array axis, in mm."""
    i, j, k = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return i, j, k


def corner_distance_mm(
    one: Header | Volume, other: Header | Volume, shape: tuple[int, ...]
) -> float:
    """Largest distance between the same corner of a grid placed by two affines, in mm.

    Float noise in a header moves corners by far less than a voxel; a real mismatch does not.
    """
    ends = [(0, size - 1) for size in shape]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    difference = ((one.affine - other.affine) @ corners)[:3]
    return float(np.linalg.norm(difference, axis=0).max())
