"""MetaImage files (MHA, MHD), read without ITK.

ITK's own parser can be kept in a loop for ever by a file that breaks off, and there is no way to
stop it from outside. The format is a few lines of text and the voxels, raw or packed by zlib.

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation, and what SimpleITK makes of the same files.
"""

import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.volumes.volume import LPS_TO_RAS, Header, Volume

META = (".mha", ".mhd")
HEADER_BYTES = 1 << 16
LARGEST_RATIO = 1032  # of zlib: more voxels than that cannot have been packed into the file
LARGEST_NUMBER = 1e9  # of voxels along an axis, or of mm
LAST_FIELD = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]+?)[ \t]*\r?\n", re.MULTILINE)
TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
ORIGINS = ("Offset", "Position", "Origin")


def read_meta(path: Path) -> Volume:
    """Read a MetaImage file of up to four dimensions, the axes in its own order.

    Raises:
        InputError: If it is damaged, has several numbers per voxel, or text or several files as
            voxels.
    """
    fields, start = _fields(path)
    header = _header(path, fields)
    file = path if fields["ElementDataFile"].upper() == "LOCAL" else _beside(path, fields)
    start = start if file == path else 0
    size = math.prod(header.shape) * header.dtype.itemsize
    if size > LARGEST_RATIO * file.stat().st_size:
        got = f"a file of {file.stat().st_size} bytes"
        raise InputError(path, f"voxels of shape {header.shape}, as its header says", got)
    if fields.get("CompressedData", "False").upper() == "TRUE":
        flat = _unpacked(file, start, size).view(header.dtype)
    else:
        skip = int(fields.get("HeaderSize", "0"))
        start = file.stat().st_size - size if skip < 0 else start + skip
        flat = np.fromfile(file, header.dtype, math.prod(header.shape), offset=max(start, 0))
    native = flat.astype(header.dtype.newbyteorder("="), copy=False)
    return Volume(native.reshape(header.shape, order="F"), header.affine)


def read_meta_header(path: Path) -> Header:
    """Shape, affine and type of a MetaImage file without its voxels.

    Raises:
        InputError: As :func:`read_meta` does for whatever a header says.
    """
    fields, _ = _fields(path)
    header = _header(path, fields)
    return Header(header.shape, header.affine, header.dtype.newbyteorder("="))


def _fields(path: Path) -> tuple[Mapping[str, str], int]:
    """Field → value, and where the header ends."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    last = LAST_FIELD.search(start if start.endswith(b"\n") else start + b"\n")
    if last is None:
        raise InputError(path, "a header that ends with ElementDataFile", "a damaged one")
    lines = [line.partition("=") for line in start[: last.end()].decode("latin-1").splitlines()]
    return {name.strip(): value.strip() for name, sign, value in lines if sign}, last.end()


def _header(path: Path, fields: Mapping[str, str]) -> Header:
    rank = int(_numbers(path, fields, ("NDims",), 1)[0])
    shape = tuple(int(size) for size in _numbers(path, fields, ("DimSize",), rank))
    if not 1 <= rank <= 4 or min(shape) < 1:
        raise InputError(path, "1 to 4 dimensions of 1 voxel or more", f"shape {shape}")
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise InputError(path, "one number per voxel", fields["ElementNumberOfChannels"][:20])
    if fields.get("BinaryData", "True").upper() != "TRUE":
        raise InputError(path, "binary voxels", "voxels as text")
    kind = TYPES.get(fields.get("ElementType", ""))
    if kind is None:
        got = fields.get("ElementType", "none")[:20]
        raise InputError(path, f"an ElementType ({', '.join(TYPES)})", got)
    most = fields.get("ElementByteOrderMSB", fields.get("BinaryDataByteOrderMSB", "False"))
    dtype = np.dtype(kind).newbyteorder(">" if most.upper() == "TRUE" else "<")
    return Header(shape, _affine(path, fields, rank), dtype)


def _affine(path: Path, fields: Mapping[str, str], rank: int) -> np.ndarray:
    space = min(rank, 3)
    spacing = _numbers(path, fields, ("ElementSpacing", "ElementSize"), rank, [1.0] * rank)
    directions = _numbers(path, fields, DIRECTIONS, rank * rank, np.eye(rank).ravel())
    origin = _numbers(path, fields, ORIGINS, rank, [0.0] * rank)
    affine = np.eye(4)
    axes = np.reshape(directions, (rank, rank)).T  # a row of the file is the direction of an axis
    affine[:space, :space] = axes[:space, :space] * np.asarray(spacing)[:space]
    affine[:space, 3] = origin[:space]
    return np.asarray(LPS_TO_RAS @ affine)


def _numbers(
    path: Path,
    fields: Mapping[str, str],
    names: tuple[str, ...],
    count: int,
    otherwise: "list[float] | np.ndarray | None" = None,
) -> np.ndarray:
    """The numbers of the first of some fields that is there; none may be beyond all bounds."""
    name = next((name for name in names if name in fields), None)
    if name is None and otherwise is not None:
        return np.asarray(otherwise, float)
    words = fields[name].split() if name else []
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        numbers = np.array([np.nan])
    if len(words) != count or not (np.abs(numbers) <= LARGEST_NUMBER).all():
        got = repr(fields[name][:40]) if name else "none"
        raise InputError(path, f"{count} numbers as {names[0]}", got)
    return numbers


def _beside(path: Path, fields: Mapping[str, str]) -> Path:
    name = fields["ElementDataFile"]
    if name.upper().startswith("LIST") or "%" in name:
        hint = "write it as one file"
        raise InputError(path, "the voxels in one file", f"several ({name[:40]})", hint)
    beside = path.parent / name
    if not beside.is_file():
        raise InputError(path, f"its voxels in {name[:80]}", "no such file")
    return beside


def _unpacked(file: Path, start: int, size: int) -> np.ndarray:
    """Unpack no more than ``size`` bytes, and make sure that the packed data end there."""
    with file.open("rb") as opened:
        opened.seek(start)
        packed = opened.read()
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    content = unpacker.decompress(packed, size + 1)
    if len(content) != size or not unpacker.eof:
        got = f"a damaged or truncated file (not {size} bytes of voxels)"
        raise InputError(file, "a readable volume", got)
    unpacked: np.ndarray = np.frombuffer(content, np.uint8).copy()
    return unpacked
