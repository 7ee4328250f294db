"""Which files a source is read from."""

import re
from pathlib import Path

from medseg.case import Source
from medseg.volumes.read import suffix_of

DETACHED = {
    ".mhd": re.compile(rb"^\s*ElementDataFile\s*=\s*(.+?)\s*$", re.MULTILINE),
    ".nhdr": re.compile(rb"^\s*data ?file\s*:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE),
}


def files_of(source: Source) -> list[Path]:
    """Every file a source is read from: of a detached header, the voxels'; of a folder, all."""
    files = list(source) if isinstance(source, tuple) else [source]
    if len(files) == 1 and files[0].is_dir():
        return sorted(path for path in files[0].rglob("*") if path.is_file())
    return files + [extra for path in files for extra in _detached(path)]


def _detached(path: Path) -> list[Path]:
    pattern = DETACHED.get(suffix_of(path))
    if pattern is None or not path.is_file():
        return []
    found = pattern.search(path.read_bytes())
    name = found.group(1).decode("utf-8", "replace") if found else ""
    if name.upper() == "LOCAL":
        return []
    named = path.parent / name
    if name and named.is_file():
        return [named]
    return sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
