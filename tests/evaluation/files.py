"""Tiny label maps on disk."""

import numpy as np

from medseg.volumes import Volume, write_volume

SPACING = (1.0, 2.0, 3.0)
SHAPE = (8, 7, 6)
DIAGONAL = float(np.sqrt(8.0**2 + 14.0**2 + 18.0**2))


def blocks(*places, shape=SHAPE):
    """A label map with a 2 by 2 by 2 block of each (value, first corner)."""
    array = np.zeros(shape, dtype=np.uint8 if all(v < 256 for v, _ in places) else np.uint16)
    for value, (i, j, k) in places:
        array[i : i + 2, j : j + 2, k : k + 2] = value
    return array


def save(path, array, *, spacing=SPACING, origin=(0.0, 0.0, 0.0)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    write_volume(path, Volume(array, affine))
    return path
