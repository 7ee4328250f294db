"""The intensities of a DICOM series, decoded and rescaled slice by slice."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.volumes.dicom_files import Files, read_dataset
from medseg.volumes.dicom_header import Plane
from medseg.volumes.dicom_library import guarded, pydicom_for

DECODERS = {
    "pylibjpeg-openjpeg": "pylibjpeg pylibjpeg-openjpeg",
    "pyjpegls": "pyjpegls",
    "gdcm": "python-gdcm",
    "pillow": "pillow",
}
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_pixels(files: Files, planes: Sequence[Plane]) -> np.ndarray:
    """Decode slices and turn stored numbers into intensities.

    Args:
        files: Where their files lie.
        planes: Slices of one shape, in the order wanted.

    Returns:
        Shape (slices, rows, columns); int16 if that holds every intensity exactly, else float32.

    Raises:
        InputError: If a file is damaged, has no pixels, or no decoder for it is installed.
    """
    array = np.empty((len(planes), *planes[0].shape), np.int16)
    for index, intensities in _intensities(files, planes):
        if intensities.dtype != array.dtype and array.dtype == np.int16:
            array = array.astype(np.float32)
        array[index] = intensities
    return array


def _intensities(files: Files, planes: Sequence[Plane]) -> Iterator[tuple[int, np.ndarray]]:
    by_file = sorted(range(len(planes)), key=lambda index: planes[index].name)
    for name, members in groupby(by_file, key=lambda index: planes[index].name):
        dataset = read_dataset(files, name, pixels=True)
        for index in members:
            plane = planes[index]
            yield index, _rescaled(_decoded(files, dataset, plane), plane)


def _decoded(files: Files, dataset: Any, plane: Plane) -> np.ndarray:
    where = files.where(plane.name)
    if not any(field in dataset for field in PIXELS):
        raise InputError(where, "an image", "a file without pixel data, or a truncated one")
    _check_decoder(where, dataset)
    with guarded(where, "pixels that can be decoded"):
        pydicom = pydicom_for(files.path)
        stored: np.ndarray = pydicom.pixels.pixel_array(dataset, index=plane.frame, raw=True)
    if stored.shape != plane.shape:
        raise InputError(where, f"{plane.shape} pixels, as its header says", f"{stored.shape}")
    return stored


def _check_decoder(where: Any, dataset: Any) -> None:
    """Refuse what cannot be decoded, and name the package that would."""
    pydicom = pydicom_for(where)
    with guarded(where, "a transfer syntax"):
        syntax = pydicom.uid.UID(dataset.file_meta.TransferSyntaxUID)
        try:
            decoder = pydicom.pixels.get_decoder(syntax)
        except NotImplementedError:
            wanted, hint = "a transfer syntax of images", "convert it, e.g. by gdcmconv"
            raise InputError(where, wanted, repr(str(syntax)[:64]), hint) from None
    if not decoder.is_available:
        names = " ".join(decoder.missing_dependencies)
        wanted = f"a decoder for {syntax.name}"
        packages = [install for key, install in DECODERS.items() if key in names]
        hint = f"pip install {packages[0]}" if packages else "convert it, e.g. by gdcmconv"
        raise InputError(where, wanted, "none", hint)


def _rescaled(stored: np.ndarray, plane: Plane) -> np.ndarray:
    slope, intercept = plane.slope, plane.intercept
    if stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        exact = stored.astype(np.int64) * int(slope) + int(intercept)
        limits = np.iinfo(np.int16)
        if limits.min <= exact.min() and exact.max() <= limits.max:
            return exact.astype(np.int16)
        return exact.astype(np.float32)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
