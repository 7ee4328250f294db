"""A look at the header of a NRRD file before ITK gets to see it.

ITK's parsers trust what they read, and sizes that cannot be make them ask for any amount of memory.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from medseg.errors import InputError

HEADER_BYTES = 1 << 20
LARGEST_RATIO = 1032  # of gzip
NRRD_END = re.compile(rb"\r?\n\r?\n")
HIGHEST_RANK = 10
FARTHEST_MM = 1e9
PLACE_WORDS = re.compile(r"[\s(),]+")


def check_nrrd_header(path: Path) -> None:
    """Look whether a header is whole and its sizes can be.

    Raises:
        InputError: If not.
    """
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    end = NRRD_END.search(start)
    detached = path.suffix.lower() == ".nhdr"
    if not start.startswith(b"NRRD000") or (end is None and not detached):
        raise InputError(path, "a NRRD header that ends with an empty line", "a damaged one")
    fields = _fields(start[: end.start()] if end else start)
    rank = _whole_numbers(path, fields, "dimension", 1)[0]
    if not 1 <= rank <= HIGHEST_RANK:
        raise InputError(path, f"1 to {HIGHEST_RANK} dimensions", f"{rank}")
    sizes = _whole_numbers(path, fields, "sizes", rank)
    name = fields.get("data file", fields.get("datafile", ""))
    _check_places(path, fields)
    _check_sizes(path, sizes, _named(path, name) if name else [path])


def _fields(header: bytes) -> Mapping[str, str]:
    """Field → value, names in lower case; lines without a colon are passed over."""
    fields = {}
    for line in header.decode("latin-1").splitlines():
        name, found, value = line.partition(":")
        if found and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    return fields


def _whole_numbers(path: Path, fields: Mapping[str, str], name: str, count: int) -> list[int]:
    words = fields.get(name, "").split()
    if len(words) != count or not all(word.isdecimal() and len(word) < 12 for word in words):
        got = repr(fields[name][:40]) if name in fields else "none"
        raise InputError(path, f"{count} whole numbers as {name}", got)
    return [int(word) for word in words]


def _check_places(path: Path, fields: Mapping[str, str]) -> None:
    """Numbers beyond all places keep ITK in a loop for ever."""
    for name in ("space directions", "space origin", "spacings"):
        words = [word for word in PLACE_WORDS.split(fields.get(name, "")) if word]
        try:
            numbers = [abs(float(word)) for word in words if word != "none"]
        except ValueError:
            numbers = [math.inf]
        if any(number > FARTHEST_MM for number in numbers):
            raise InputError(path, f"numbers for {name}", " ".join(words)[:40])


def _named(path: Path, name: str) -> list[Path]:
    """The file that holds the voxels, where one is named plainly and there."""
    named = path.parent / name
    try:
        return [named] if named.is_file() else []
    except ValueError:  # a name no file can have
        return []


def _check_sizes(path: Path, sizes: list[int], files: list[Path]) -> None:
    voxels = math.prod(sizes)
    if not voxels:
        raise InputError(path, "at least one voxel", f"sizes {sizes}")
    packed = sum(file.stat().st_size for file in files)
    if files and voxels > LARGEST_RATIO * packed:
        raise InputError(path, f"{voxels} voxels, as its header says", f"a file of {packed} bytes")
