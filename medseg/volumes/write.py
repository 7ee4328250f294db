"""Write label maps on the grid of the image they belong to."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from medseg.errors import UsageError
from medseg.files import atomic_path
from medseg.volumes.fits import write_fits
from medseg.volumes.read import ITK, NIFTI, suffix_of
from medseg.volumes.volume import LPS_TO_RAS, Volume

WRITTEN_FITS = (".fits", ".fits.gz")


def write_volume(path: str | Path, volume: Volume) -> None:
    """Write a volume as NIfTI, NRRD, MHA or FITS, chosen by the suffix, whole or not at all.

    FITS keeps the pixels of one slice and no geometry: it is for masks of FITS exposures.

    Raises:
        UsageError: If the suffix is none of these formats.
        InputError: If FITS is asked for several slices, or astropy is missing.
    """
    suffix = suffix_of(path)
    known = (*NIFTI, *ITK, *WRITTEN_FITS)
    if suffix not in known:
        raise UsageError(f"{path}: write volumes as {', '.join(known)}, not {suffix!r}")
    with atomic_path(path) as temporary:
        if suffix in NIFTI:
            _write_nifti(temporary, volume)
        elif suffix in WRITTEN_FITS:
            write_fits(temporary, volume)
        else:
            _write_itk(temporary, volume)


def write_label_map(path: str | Path, volume: Volume) -> None:
    """Write a label map in the smallest unsigned type that holds its values."""
    smallest = np.min_scalar_type(int(volume.array.max(initial=0)))
    write_volume(path, Volume(volume.array.astype(smallest, copy=False), volume.affine))


def _write_nifti(path: Path, volume: Volume) -> None:
    image = nib.Nifti1Image(volume.array, volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1, strip_shears=True)
    nib.save(image, path)


def _write_itk(path: Path, volume: Volume) -> None:
    affine = LPS_TO_RAS @ volume.affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose()))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(tuple(affine[:3, 3]))
    image.SetDirection(tuple((affine[:3, :3] / np.asarray(volume.spacing)).ravel()))
    sitk.WriteImage(image, str(path), useCompression=True)
