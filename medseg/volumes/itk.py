"""SimpleITK images as volumes and back; ITK's world is LPS, ours is RAS."""

import numpy as np
import SimpleITK as sitk

from medseg.volumes.volume import LPS_TO_RAS, Volume


def from_itk(image: sitk.Image) -> Volume:
    """The voxels, axes as ITK counts them, and their affine; more axes than three stay."""
    affine = np.eye(4)
    rank = min(image.GetDimension(), 3)
    direction = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:rank, :rank]
    affine[:rank, :rank] = direction * np.asarray(image.GetSpacing()[:rank])
    affine[:rank, 3] = image.GetOrigin()[:rank]
    return Volume(sitk.GetArrayFromImage(image).transpose(), LPS_TO_RAS @ affine)


def to_itk(volume: Volume) -> sitk.Image:
    """An image with the same voxels in the same places."""
    affine = LPS_TO_RAS @ volume.affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose()))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(tuple(affine[:3, 3]))
    image.SetDirection(tuple((affine[:3, :3] / np.asarray(volume.spacing)).ravel()))
    return image
