"""From the grid the network saw back onto the grid of the input file."""

from collections.abc import Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

from medseg.loading.preprocessing import class_dtype
from medseg.volumes import Header, Volume


def same_grid(prepared_affine: np.ndarray, shape: tuple[int, ...], native: Header) -> bool:
    """Whether the prepared grid has the voxels of the native one, its axes turned at most."""
    turned = io_orientation(native.affine)[:, 0].astype(int)
    expected = tuple(native.shape[int(axis)] for axis in np.argsort(turned))
    spacing = np.asarray(native.spacing)[np.argsort(turned)]
    prepared = np.linalg.norm(prepared_affine[:3, :3], axis=0)
    return tuple(shape) == expected and bool(np.allclose(prepared, spacing, rtol=1e-5))


def turn_to_native(classes: np.ndarray, native: Header) -> np.ndarray:
    """Turn an (X, Y, Z) RAS array to the axes of the native file; no voxel changes its value."""
    ras = np.array([[0, 1], [1, 1], [2, 1]])
    back = ornt_transform(ras, io_orientation(native.affine))
    return np.asarray(apply_orientation(classes, back))


def resample_logits(logits: np.ndarray, affine: np.ndarray, native: Header) -> np.ndarray:
    """Class of every native voxel, from logits resampled linearly in world space.

    Args:
        logits: Shape (C, X, Y, Z), on the grid that ``affine`` places; one channel means a
            binary network.
        affine: Voxel to RAS millimetres of that grid.
        native: Grid to go to.

    Returns:
        Class indices of shape ``native.shape``. One class is resampled at a time.
    """
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=np.float32)
    best = np.zeros(native.shape, dtype=np.float32)
    classes = np.zeros(native.shape, dtype=class_dtype(len(logits)))
    for index, channel in enumerate(logits):
        volume = MetaTensor(torch.from_numpy(channel[None].astype(np.float32)), affine=affine)
        moved = resample(volume, dst_affine=native.affine, spatial_size=native.shape[:3])
        score = moved.numpy()[0]
        if index == 0 and len(logits) > 1:
            best = score
            continue
        better = score > best
        classes[better] = index if len(logits) > 1 else 1
        best = np.where(better, score, best)
    return classes


def values_of_classes(labels: Mapping[str, int]) -> np.ndarray:
    """What each class is written as, background first, in the smallest type that holds it."""
    values = np.array([0, *labels.values()])
    return values.astype(np.min_scalar_type(int(values.max())))


def paint_labels(classes: np.ndarray, labels: Mapping[str, int], native: Header) -> Volume:
    """Put each organ's own value where its class was found, on the native grid."""
    return Volume(values_of_classes(labels)[classes], native.affine)


def in_ras(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A view on an array of a file's axes with its axes in RAS order."""
    return np.asarray(apply_orientation(array, io_orientation(affine)))


def ras_grid(native: Header) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of the native grid with its axes in RAS order."""
    orientation = io_orientation(native.affine)
    affine = native.affine @ inv_ornt_aff(orientation, native.shape[:3])
    order = np.argsort(orientation[:, 0])
    x, y, z = (int(native.shape[axis]) for axis in order)
    return affine, (x, y, z)
