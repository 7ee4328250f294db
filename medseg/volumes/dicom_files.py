"""Where DICOM files lie: in a folder and its subfolders, in a zip, or by themselves.

A zip is read member by member in memory, so nothing of it ever reaches the disk. One that could do
harm elsewhere is refused all the same, before a byte of it is unpacked.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from medseg.errors import InputError
from medseg.volumes.dicom_library import guarded, pydicom_for

ZIP = ".zip"
ZIP_START = b"PK\x03\x04"
MOST_MEMBERS = 200_000
LARGEST_ZIP_BYTES = 32 << 30  # unpacked
SMALL_ZIP_BYTES = 256 << 20  # below this a high ratio does no harm
LARGEST_RATIO = 100  # unpacked over packed; of CT and MR it is 1 to 10
PREAMBLE, MAGIC = 128, b"DICM"
# a file without preamble starts with an element of group 0008, as some archives still send them
BARE_STARTS = tuple(bytes((8, 0, element, 0)) for element in (0x00, 0x05, 0x08, 0x16, 0x18))

DEFLATED = b"1.2.840.10008.1.2.1.99"  # the whole dataset packed, to a size nobody has announced
META_BYTES = 4096  # the transfer syntax stands within these


@dataclass(frozen=True)
class Files:
    """Files that may be DICOM, and how to open them.

    Attributes:
        path: The folder, zip or file.
        names: Their names below ``path``, sorted.
        open: Name → its content, to be closed after use.
    """

    path: Path
    names: tuple[str, ...]
    open: Callable[[str], IO[bytes]]

    def where(self, name: str) -> Path:
        """How an error names one of the files."""
        return self.path if self.path.name == name else self.path / name


@contextmanager
def opened(path: str | Path) -> Iterator[Files]:
    """Open a folder, a zip or one file of DICOM.

    Hidden files and links to folders are passed over, so that no loop of links is ever entered.

    Raises:
        InputError: If there is nothing there, or a zip is damaged or not safe to unpack.
    """
    path = Path(path)
    if path.is_dir():
        yield Files(path, tuple(_names_in(path)), lambda name: (path / name).open("rb"))
    elif not path.is_file():
        raise InputError(path, "a folder, a zip or a file of DICOM", "no such file")
    elif path.suffix.lower() == ZIP:
        with guarded(path, "a readable zip"):
            archive = zipfile.ZipFile(path)
        with archive:
            yield Files(path, tuple(_checked_names(path, archive)), archive.open)
    else:
        yield Files(path, (path.name,), lambda _: path.open("rb"))


def is_dicom(file: IO[bytes]) -> bool:
    """Whether a file, just opened, starts as DICOM does; it is rewound."""
    start = file.read(PREAMBLE + len(MAGIC))
    file.seek(0)
    return start[PREAMBLE:] == MAGIC or start[:4] in BARE_STARTS


def read_dataset(
    files: Files, name: str, *, fields: Sequence[str] = (), pixels: bool = False
) -> Any:
    """Read one DICOM file as pydicom's dataset.

    Args:
        files: Where it lies.
        name: Which file.
        fields: The only elements to read; all if empty.
        pixels: Whether to read beyond the header.

    Raises:
        InputError: If it is damaged, or packed as a whole.
    """
    pydicom, where = pydicom_for(files.path), files.where(name)
    with guarded(where), files.open(name) as file:
        packed = DEFLATED in file.read(META_BYTES)
        file.seek(0)
        if packed:
            hint = "convert it, e.g. by gdcmconv --raw"
            raise InputError(where, "a transfer syntax of images", "Deflated Explicit VR", hint)
        return pydicom.dcmread(
            file, stop_before_pixels=not pixels, force=True, specific_tags=list(fields) or None
        )


def _names_in(folder: Path) -> list[str]:
    names = []
    for root, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(root) / name for name in files if not name.startswith(".")]
        names += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    return sorted(names)


def _refuse(error: OSError) -> None:
    raise InputError(str(error.filename), "a readable folder", str(error.strerror).lower())


def _checked_names(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """The names of all files in a zip.

    Raises:
        InputError: If it is not safe to unpack.
    """
    if not all(member.filename for member in archive.infolist()):
        raise InputError(path, "a name for every file in a zip", "none for one")
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MOST_MEMBERS:
        raise InputError(path, f"at most {MOST_MEMBERS} files in a zip", f"{len(members)}")
    total = sum(member.file_size for member in members)
    packed = max(1, min(path.stat().st_size, sum(member.compress_size for member in members)))
    ratio = total / packed
    if total > LARGEST_ZIP_BYTES or (total > SMALL_ZIP_BYTES and ratio > LARGEST_RATIO):
        wanted = f"a zip of at most {LARGEST_ZIP_BYTES >> 30} GiB and {LARGEST_RATIO}:1 unpacked"
        raise InputError(path, wanted, f"{total / (1 << 30):.1f} GiB at {ratio:.0f}:1")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise InputError(path, "each name once in a zip", "one twice")
    for member in members:
        _check_member(path, archive, member)
    return sorted(name for name in names if not _is_hidden(name))


def _check_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    name, windows = member.filename, PureWindowsPath(member.filename)
    if windows.drive or windows.root or ".." in windows.parts:
        raise InputError(path, "names inside the zip's own folder", repr(name[:80]))
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(path, "a zip without links", f"the link {name[:80]!r}")
    if member.flag_bits & 1:
        raise InputError(path, "a zip without password", f"the encrypted {name[:80]!r}")
    with guarded(path, "a readable zip"), archive.open(member) as file:
        start = file.read(len(ZIP_START))
    if start == ZIP_START or name.lower().endswith(ZIP):
        raise InputError(path, "DICOM files in a zip", f"a zip in the zip, {name[:80]!r}")


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
