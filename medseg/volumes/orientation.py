"""The same voxels, with their axes in another order or direction."""

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medseg.volumes.volume import Volume


def in_axes_of(volume: Volume, other: Volume) -> Volume:
    """Permute and flip a volume's axes so that they run as close as can be to those of ``other``.

    No voxel is copied or interpolated: a volume written in LPS order comes out as one in RAS order
    if ``other`` is in RAS order. Whether both then lie on one grid is for the caller to check.

    Args:
        volume: The volume to turn.
        other: The volume whose axes are wanted; its voxels are not read.

    Returns:
        A view on the voxels of ``volume`` and its affine, which places every voxel where it was;
        ``volume`` itself if the axes agree already, or an affine is broken.
    """
    if not all(abs(np.linalg.det(one.affine)) > 0 for one in (volume, other)):
        return volume
    orientation = io_orientation(np.linalg.inv(other.affine) @ volume.affine)
    if np.array_equal(orientation, [[0, 1], [1, 1], [2, 1]]):
        return volume
    affine = volume.affine @ inv_ornt_aff(orientation, volume.array.shape)
    return Volume(apply_orientation(volume.array, orientation), affine)
