"""A look at MetaImage and NRRD headers before ITK sees them: some make it crash or never end."""

import re
from pathlib import Path, PurePath

from medseg.errors import InputError

LARGEST_HEADER = 1 << 16
LAST = "ElementDataFile"  # the voxels follow
VECTORS = {
    "DimSize": 1, "Offset": 1, "Position": 1, "Origin": 1, "CenterOfRotation": 1,
    "ElementSpacing": 1, "ElementSize": 1, "TransformMatrix": 2, "Rotation": 2, "Orientation": 2,
}  # fmt: skip
COUNTS = ("NDims", "ElementNumberOfChannels", "CompressedDataSize", "HeaderSize")
KNOWN = {*VECTORS, *COUNTS, LAST}
FARTHEST_MM = 1e9  # beyond it, ITK never ends or finds no inverse
PLACES = re.compile(rb"^(space directions|space origin|spacings)\s*:(.*)$", re.I | re.M)
NRRD_WORDS = re.compile(rb"[\s(),]+")
MOST_AXES, MOST_CHANNELS = 4, 100


def check_itk_header(path: Path) -> None:
    """Refuse a MetaImage or NRRD header that ITK cannot be trusted with.

    Raises:
        InputError: If it makes no sense.
    """
    if path.suffix.lower() in (".mha", ".mhd"):
        _check_metaimage(path)
    else:
        _check_nrrd(path)


def _check_metaimage(path: Path) -> None:
    """Refuse a header whose numbers do not fit together.

    Raises:
        InputError: If its numbers are none, are missing, or are not as many as it has axes.
    """
    fields = _fields(path)
    axes = fields.get("NDims", 0)
    if not isinstance(axes, int) or not 1 <= axes <= MOST_AXES:
        raise InputError(path, f"a MetaImage of 1 to {MOST_AXES} axes", f"NDims = {axes}")
    sizes = fields.get("DimSize")
    if not isinstance(sizes, list) or any(size < 1 or size % 1 for size in sizes):
        raise InputError(path, "sizes of at least one voxel", f"DimSize = {sizes}")
    for name, power in VECTORS.items():
        numbers = fields.get(name)
        if isinstance(numbers, list) and len(numbers) != axes**power:
            got = f"{len(numbers)} in {name}"
            raise InputError(path, f"{axes**power} numbers for {axes} axes", got)
    channels = fields.get("ElementNumberOfChannels", 1)
    if not isinstance(channels, int) or not 1 <= channels <= MOST_CHANNELS:
        raise InputError(path, "one number per voxel", f"{channels}")


def _fields(path: Path) -> dict[str, int | list[float] | None]:
    with path.open("rb") as file:
        head = file.read(LARGEST_HEADER)
    fields: dict[str, int | list[float] | None] = {}
    for line in head.split(b"\n"):
        name, sign, value = line.decode("latin-1").partition("=")
        name = name.strip()
        if not line.strip():
            continue
        if not sign or not name.isascii() or not name.isprintable():
            raise InputError(path, "lines of 'name = value'", repr(line[:40]))
        if name in fields and name in KNOWN:
            raise InputError(path, f"{name} once", "twice")
        if name == LAST:
            _check_place(path, value.strip())
            return fields
        fields[name] = _read(path, name, value.split())
    raise InputError(path, f"a MetaImage header that ends with {LAST}", "none")


def _check_place(path: Path, place: str) -> None:
    """The voxels are in the file or in one beside it; ITK would run a pattern as a format."""
    parts = PurePath(place).parts
    if "%" in place or place == "LIST" or PurePath(place).is_absolute() or ".." in parts:
        raise InputError(path, "voxels in the file, or in one beside it", f"{LAST} = {place[:40]}")


def _read(path: Path, name: str, words: list[str]) -> int | list[float] | None:
    try:
        if name in VECTORS:
            return [_sane(float(word)) for word in words]
        if name in COUNTS:
            return int(words[0])
    except (ValueError, IndexError):
        raise InputError(path, f"numbers for {name}", " ".join(words)[:40] or "none") from None
    return None


def _check_nrrd(path: Path) -> None:
    with path.open("rb") as file:
        head = re.split(rb"\r?\n\r?\n", file.read(LARGEST_HEADER), maxsplit=1)[0]
    for name, value in PLACES.findall(head):
        words = [word.decode("latin-1") for word in NRRD_WORDS.split(value.strip()) if word]
        try:
            for word in words:
                if word != "none":
                    _sane(float(word))
        except ValueError:
            got = " ".join(words)[:40] or "none"
            raise InputError(path, f"numbers for {name.decode()}", got) from None


def _sane(number: float) -> float:
    if not abs(number) <= FARTHEST_MM:
        raise ValueError(number)
    return number
