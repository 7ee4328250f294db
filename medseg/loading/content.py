"""What is in a source file, as a hash that is remembered while the file stays as it is."""

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from medseg.case import Source
from medseg.errors import InputError, ResourceError
from medseg.files import sha256, write_json
from medseg.volumes import suffix_of
from medseg.volumes.files import files_of

SETTLED_NS = 2_000_000_000  # a file younger than this may change again within one clock tick


@dataclass(frozen=True)
class Content:
    """The content of one source and the state its files were in.

    Attributes:
        digest: SHA-256 over names' suffixes and contents, 64 hex digits.
        state: (size, mtime_ns, ctime_ns, inode) of every file.
        hashes: SHA-256 of every file, 64 hex digits each.
    """

    digest: str
    state: tuple[tuple[int, int, int, int], ...]
    hashes: tuple[str, ...]


def content_of(source: Source, memory: Path) -> Content:
    """Hash a source, or recall its hash from ``memory`` if its files are in the same state.

    A change of content always changes the time of the last status change (ctime), which unlike
    mtime cannot be set back.

    Args:
        source: A volume file, or one file per slice.
        memory: Folder in which hashes are remembered; made if missing.

    Raises:
        InputError: If a file is missing, or changes while it is read.
    """
    files = files_of(source)
    state = state_of(files)
    names = "\n".join(str(path.absolute()) for path in files)
    note = memory / f"{hashlib.sha256(names.encode()).hexdigest()[:32]}.json"
    remembered = _recall(note)
    if remembered is not None and remembered.state == state:
        return remembered
    hashes = tuple(sha256(path) for path in files)
    content = Content(_digest(files, hashes), state, hashes)
    if state_of(files) != state:
        raise InputError(files[0], "a file at rest", "one that changes while it is read")
    if time.time_ns() - max(ctime for _, _, ctime, _ in state) > SETTLED_NS:
        with contextlib.suppress(OSError, ResourceError):  # one can do without
            write_json(note, {"digest": content.digest, "state": state, "hashes": hashes})
    return content


def state_of(files: list[Path]) -> tuple[tuple[int, int, int, int], ...]:
    """(size, mtime_ns, ctime_ns, inode) of every file.

    Raises:
        InputError: If one is missing.
    """
    states = []
    for path in files:
        try:
            stat = path.stat()
        except OSError as error:
            reason = error.strerror or "unreadable"
            raise InputError(path, "a file", reason.lower()) from None
        states.append((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return tuple(states)


def _digest(files: list[Path], hashes: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path, content in zip(files, hashes, strict=True):
        digest.update(f"{suffix_of(path)} {content}\n".encode())
    return digest.hexdigest()


def _recall(note: Path) -> Content | None:
    try:
        known = json.loads(note.read_bytes())
        state = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in known["state"])
        return Content(str(known["digest"]), state, tuple(map(str, known["hashes"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None
