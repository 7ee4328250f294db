"""Images from memory as volumes, and back: arrays, nibabel's and SimpleITK's images."""

from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike

from medseg.errors import UsageError
from medseg.volumes import Volume
from medseg.volumes.itk import from_itk, to_itk


def as_volume(image: Any, affine: ArrayLike | None = None) -> Volume:
    """An image from memory as a volume, its voxels as they are.

    Args:
        image: An array of shape (I, J, K), a nibabel image, a ``SimpleITK.Image``, or a
            :class:`~medseg.volumes.Volume`, which is returned as it is.
        affine: Voxel index to millimetres in RAS world space, shape (4, 4); needed for an array,
            and for nothing else.

    Raises:
        UsageError: If it is none of these, not 3D, empty, its voxels are not all finite real
            numbers, or its affine is missing or no such matrix.
    """
    if isinstance(image, Volume):
        volume = image
    elif isinstance(image, nib.spatialimages.SpatialImage):
        volume = Volume(np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=float))
    elif isinstance(image, sitk.Image):
        volume = from_itk(image)
    elif isinstance(image, np.ndarray):
        return _from_array(image, affine)
    else:
        wanted = "an array, a nibabel or SimpleITK image, or a Volume"
        raise UsageError(f"expected {wanted}, got {type(image).__name__}")
    if affine is not None:
        raise UsageError(f"{type(image).__name__} has an affine of its own: leave out 'affine'")
    return _checked(volume)


def back_to(image: Any, volume: Volume) -> Any:
    """A volume as the kind of thing that ``image`` is: array, nibabel, SimpleITK image or Volume.

    Args:
        image: What :func:`as_volume` was given.
        volume: For example its label map.
    """
    if isinstance(image, np.ndarray):
        return volume.array
    if isinstance(image, nib.spatialimages.SpatialImage):
        made = nib.Nifti1Image(volume.array, volume.affine)
        made.header.set_xyzt_units("mm")
        return made
    return to_itk(volume) if isinstance(image, sitk.Image) else volume


def _from_array(array: np.ndarray, affine: ArrayLike | None) -> Volume:
    if affine is None:
        raise UsageError("an array does not say where it lies: give its 'affine', shape (4, 4)")
    return _checked(Volume(array, np.asarray(affine, dtype=float)))


def _checked(volume: Volume) -> Volume:
    if volume.array.ndim != 3:
        raise UsageError(f"expected a 3D image, got shape {volume.array.shape}")
    array, affine = volume.array, volume.affine
    if array.dtype.kind not in "biuf" or not array.size:
        raise UsageError(f"expected real numbers, got {array.dtype} of shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError("expected finite voxels, got NaN or infinity")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.linalg.det(affine):
        raise UsageError(f"expected an affine of shape (4, 4) that can be inverted, got {affine}")
    return volume
