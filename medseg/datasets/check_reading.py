"""One file, or the slices of one case, read once and whole for the data-set check.

NIfTI files are unpacked to the last byte, so that a broken checksum or a cut-off end is seen
even where the voxels themselves could still be read.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from medseg.case import Source
from medseg.datasets.problems import Problem, first_path
from medseg.errors import InputError
from medseg.volumes import read_volume, suffix_of

NIFTI = (".nii", ".nii.gz")
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    KeyError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
BYTE_ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")
KIND_OF_REFUSAL = {  # what medseg.volumes wanted → the problem it names
    "a 3D volume": "dimensions",
    "2D slices of one shape": "slice-shapes",
    "one number per voxel": "voxel-type",
    "a file": "missing-file",
}


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        source: Where it was read.
        array: Voxels, shape (I, J, K).
        affine: Voxel index to mm in RAS world space, shape (4, 4).
        header: The NIfTI header as written; None for other formats.
    """

    source: Source
    array: np.ndarray
    affine: np.ndarray
    header: Any = None

    @property
    def path(self) -> str:
        """The file, or the first of the slices, for messages."""
        return str(first_path(self.source))


def read_content(source: Source, array_name: str) -> Content | Problem:
    """Read a source whole, or say why that cannot be done."""
    path = first_path(source)
    if source == ():
        return Problem("missing-file", str(path), "slices", "none")
    if path.is_file() and path.stat().st_size == 0:
        return Problem("empty-file", str(path), "a volume", "a file of 0 bytes")
    try:
        if isinstance(source, Path) and suffix_of(source) in NIFTI:
            return _read_nifti(source)
        volume = read_volume(source, array_name)
    except InputError as error:
        kind = KIND_OF_REFUSAL.get(error.wanted, "unreadable")
        return Problem(kind, str(error.path), error.wanted, error.got)
    return _checked(Content(source, volume.array, volume.affine))


def _read_nifti(path: Path) -> Content | Problem:
    if not path.is_file():
        return Problem("missing-file", str(path), "a file", "no such file")
    try:
        with _nibabel_quiet():
            image, header = _unpack(path)
            array = _voxels(image)
    except READ_ERRORS as error:
        reason = str(error).strip().split("\n")[-1] or type(error).__name__
        got = f"a damaged or truncated file ({reason})"
        return Problem("unreadable", str(path), "a readable volume", got)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    return _checked(Content(path, array, np.asarray(image.affine, dtype=float), header))


def _unpack(path: Path) -> tuple[Any, Any]:
    """The image of a file unpacked whole, and its header as written."""
    packed = path.read_bytes()
    unpacked = gzip.decompress(packed) if suffix_of(path) == ".nii.gz" else packed
    second = any(int.from_bytes(unpacked[:4], order) == 540 for order in BYTE_ORDERS)
    kind = nib.Nifti2Image if second else nib.Nifti1Image
    header = kind.header_class(unpacked[: kind.header_class.sizeof_hdr], check=False)
    image = kind.from_bytes(unpacked)
    wanted = int(image.dataobj.offset) + math.prod(image.shape) * image.get_data_dtype().itemsize
    if len(unpacked) < wanted:  # said before memory is taken for what a broken header promises
        raise ValueError(f"{len(unpacked)} bytes where the header promises {wanted}")
    return image, header


@contextmanager
def _nibabel_quiet() -> Iterator[None]:
    """Keep nibabel from printing what it mends in a header: the check says it of the raw one."""
    before, nibabel_logger.disabled = nibabel_logger.disabled, True
    try:
        yield
    finally:
        nibabel_logger.disabled = before


def _voxels(image: Any) -> np.ndarray:
    if image.dataobj.slope == 1 and image.dataobj.inter == 0:
        return np.asarray(image.dataobj)
    return np.asarray(image.get_fdata(dtype=np.float32))


def _checked(content: Content) -> Content | Problem:
    """The content, if it is a 3D array of real numbers."""
    array = content.array
    if array.dtype.kind not in "buif":
        return Problem("voxel-type", content.path, "one real number per voxel", str(array.dtype))
    if array.ndim != 3 or 0 in array.shape:
        wanted = "a 3D volume"
        return Problem("dimensions", content.path, wanted, f"shape {sizes(array.shape)}")
    return content


def sizes(shape: tuple[int, ...]) -> str:
    """A shape as people write it: 512×512×148."""
    return "×".join(str(size) for size in shape)
