"""Read volumes with their geometry: NIfTI, NRRD, MHA, DICOM, FITS, NumPy and HDF5 arrays.

Files without a geometry of their own (``.npz``, ``.npy``, ``.h5``; one axial slice or a stack of
them with slices first) are given a spacing of 1 mm, and the slices become the last axis.
"""

import contextlib
import gzip
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from medseg.case import Source
from medseg.errors import InputError
from medseg.volumes import dicom_series
from medseg.volumes.fits import FITS, read_fits
from medseg.volumes.itk import from_itk
from medseg.volumes.metaimage import META, read_meta, read_meta_header
from medseg.volumes.nrrd_header import check_nrrd_header
from medseg.volumes.volume import Header, Volume

NIFTI = (".nii", ".nii.gz")
NRRD = (".nrrd", ".nhdr")
ITK = NRRD + META
HDF5 = (".npy.h5", ".h5", ".hdf5")
ARRAYS = (".npz", ".npy", *HDF5)
SUFFIXES = NIFTI + ITK + FITS + ARRAYS
Read = TypeVar("Read")
NIFTI2_HEADER_BYTES = 540
LONGEST_REASON = 200  # characters of what a library says
GZIP_START, LARGEST_GZIP_RATIO = b"\x1f\x8b\x08", 1032
READ_ERRORS = (  # whatever the libraries say of bytes that make no sense
    OSError, EOFError, ValueError, RuntimeError, LookupError, TypeError, ArithmeticError,
    AttributeError, AssertionError, SyntaxError, struct.error, zlib.error, gzip.BadGzipFile,
    zipfile.BadZipFile, tokenize.TokenError, ImageFileError, HeaderDataError, WrapStructError,
)  # fmt: skip


def suffix_of(path: str | Path) -> str:
    """The suffix of a volume file, ``.nii.gz`` as a whole; empty if it is none we read."""
    name = Path(path).name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def stem_of(path: str | Path) -> str:
    """The name of a volume file without its suffix: ``case1`` for ``case1.nii.gz``."""
    name = Path(path).name
    dicom = next((s for s in dicom_series.SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix_of(path) or dicom)]


def read_volume(
    source: Source, array_name: str = "image", *, series_uid: str | None = None
) -> Volume:
    """Read a 3D volume.

    Args:
        source: One file, one file per axial slice, or a folder or zip with one DICOM series.
        array_name: Which array of an ``.npz`` or ``.h5`` file: ``"image"`` or ``"label"``.
        series_uid: Which DICOM series, where a folder or zip holds several.

    Returns:
        The volume; a fourth axis of length one is dropped.

    Raises:
        InputError: If a file is missing, damaged, of an unknown kind or not 3D.
    """
    if isinstance(source, tuple):
        slices = [_read_one(path, array_name).array for path in source]
        shapes = {array.shape for array in slices}
        if len(shapes) != 1 or slices[0].ndim != 2:
            raise InputError(source[0], "2D slices of one shape", f"shapes {sorted(shapes)}")
        return Volume(np.stack(slices, axis=-1), np.eye(4))
    if dicom_series.is_dicom_path(source):
        return dicom_series.read_series(dicom_series.choose_series(source, series_uid))
    volume = _read_one(source, array_name)
    array = volume.array
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise InputError(source, "a 3D volume", f"shape {array.shape}")
    return Volume(array, volume.affine)


def read_header(path: Path, array_name: str = "image", *, series_uid: str | None = None) -> Header:
    """Read shape, affine and data type without the voxels where the format allows it.

    Raises:
        InputError: If the file is missing, damaged or of an unknown kind.
    """
    if suffix_of(path) in NIFTI:
        image = _guarded(path, lambda: nib.load(path))
        return Header(tuple(image.shape), np.asarray(image.affine, float), image.get_data_dtype())
    if suffix_of(path) in META:
        return _guarded(path, lambda: read_meta_header(path))
    if dicom_series.is_dicom_path(path):
        return dicom_series.read_series_header(dicom_series.choose_series(path, series_uid))
    volume = _read_one(path, array_name)
    return Header(volume.array.shape, volume.affine, volume.array.dtype)


def _read_one(path: Path, array_name: str) -> Volume:
    suffix = suffix_of(path)
    if suffix in NIFTI:
        return _guarded(path, lambda: _read_nifti(path))
    if suffix in META:
        return _guarded(path, lambda: read_meta(path))
    if suffix in NRRD:
        return _guarded(path, lambda: _read_nrrd(path))
    if suffix in FITS:
        return _guarded(path, lambda: read_fits(path))
    if suffix in ARRAYS:
        return _guarded(path, lambda: _read_array(path, suffix, array_name))
    raise InputError(path, f"a volume ({', '.join(SUFFIXES)})", f"{path.suffix or 'no suffix'}")


def _guarded(path: Path, read: Callable[[], Read]) -> Read:
    if not path.exists():
        raise InputError(path, "a file", "no such file")
    try:
        with LoggingOutputSuppressor():  # nibabel tells stderr what it mends in a header
            return read()
    except InputError:
        raise
    except MemoryError as error:
        got = f"a header that speaks of more ({error})" if str(error) else "a larger one"
        raise InputError(path, "a volume that fits into memory", got) from error
    except READ_ERRORS as error:
        reason = " ".join(str(error).strip().split("\n")[-1].split())[:LONGEST_REASON]
        reason = reason or type(error).__name__
        got = f"a damaged or truncated file ({reason})"
        raise InputError(path, "a readable volume", got) from error


def _read_nifti(path: Path) -> Volume:
    content = _unpack(path.read_bytes()) if path.suffix.lower() == ".gz" else None
    image = nib.load(path) if content is None else _image_of(content)
    voxels = image.dataobj
    if min(voxels.shape, default=0) < 0:  # NumPy would take it for "whatever is left"
        raise InputError(path, "sizes of at least one voxel", f"shape {voxels.shape}")
    if voxels.slope != 1 or voxels.inter != 0:
        array = image.get_fdata(dtype=np.float32)
    elif content is None:
        array = np.asarray(voxels)
    else:  # three times as fast as through nibabel's file reader
        flat = np.frombuffer(content, voxels.dtype, math.prod(voxels.shape), voxels.offset)
        array = flat.reshape(voxels.shape, order="F").copy(order="K")
    return Volume(array, np.asarray(image.affine, dtype=float))


def _unpack(packed: bytes) -> bytes:
    """The whole content, checked to the last byte: nibabel alone stops before the checksum.

    The end of the file says how long the content is, so that it is unpacked into one piece of
    memory; files of several members, or with something behind, take the slower way.
    """
    size = int.from_bytes(packed[-4:], "little")
    if packed.find(GZIP_START, 1) < 0 and 0 < size <= LARGEST_GZIP_RATIO * len(packed):
        with contextlib.suppress(zlib.error):  # gzip below says better what is broken
            content = zlib.decompress(packed, wbits=31, bufsize=size)
            if len(content) == size:
                return content
    return gzip.decompress(packed)


def _image_of(content: bytes) -> nib.Nifti1Image:
    sizes = [int.from_bytes(content[:4], order) for order in ("little", "big")]
    kind = nib.Nifti2Image if NIFTI2_HEADER_BYTES in sizes else nib.Nifti1Image
    return kind.from_bytes(content)


def _read_nrrd(path: Path) -> Volume:
    check_nrrd_header(path)
    image = sitk.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(path, "one number per voxel", f"{image.GetNumberOfComponentsPerPixel()}")
    return from_itk(image)


def _read_array(path: Path, suffix: str, array_name: str) -> Volume:
    if suffix in HDF5:
        array = _read_hdf5(path, array_name)
    else:
        loaded = np.load(path, allow_pickle=False)
        array = loaded[array_name] if suffix == ".npz" else loaded
    return Volume(np.moveaxis(array, 0, -1) if array.ndim == 3 else array, np.eye(4))


def _read_hdf5(path: Path, array_name: str) -> np.ndarray:
    try:
        import h5py
    except ImportError:
        raise InputError(
            path, "h5py to read HDF5", "none", hint="pip install 'medseg[hdf5]'"
        ) from None
    with h5py.File(path) as file:
        return np.asarray(file[array_name])
