"""A file that says who works in a folder, so that no two processes do the same work at once.

On one machine a lease is as good as its process: the holder's id and start time tell whether it
still runs. From other machines one sees only its heartbeat, a time stamp renewed every few
seconds; ages are taken by the clock of the file system, so that machines need not agree.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.errors import UsageError

HEARTBEAT_S = 15.0
STALE_S = 180.0  # an older heartbeat, seen from another machine, means that nobody is left
SUFFIX = ".lease"
WHOLE = "whole"
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class HeldError(UsageError):
    """Another process that is alive holds the lease."""


@contextmanager
def lease(folder: Path, name: str, *, heartbeat_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Hold the lease ``name`` on ``folder`` while the block runs.

    ``WHOLE`` excludes every other name; other names exclude themselves and ``WHOLE``.

    Args:
        folder: Where the lease is kept; made if missing.
        name: Whatever fits into a file name.
        heartbeat_s: Seconds between two signs of life.

    Raises:
        HeldError: If another process that is alive holds a lease that excludes this one.
    """
    path, mine = folder / f"{name}{SUFFIX}", _myself()
    _take(path, mine)
    try:
        for other in names_in(folder):
            if other != name and WHOLE in (name, other):
                _refuse_if_alive(folder / f"{other}{SUFFIX}")
        done = threading.Event()
        beat = threading.Thread(target=_beat, args=(path, done, heartbeat_s), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
    finally:
        if _read(path).get("token") == mine["token"]:
            path.unlink(missing_ok=True)


def names_in(folder: Path) -> list[str]:
    """Names of the leases in a folder, held or not; what a kill left half written is none."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    return [_name(path) for path in paths if not path.name.startswith(".")]


def is_held(folder: Path, name: str) -> bool:
    """Whether a process that is alive holds the lease ``name``."""
    path = folder / f"{name}{SUFFIX}"
    holder = _read(path)
    return path.exists() and _alive(path, holder)


def remove_stale(folder: Path, name: str) -> None:
    """Remove the lease ``name`` if its process died."""
    path = folder / f"{name}{SUFFIX}"
    with contextlib.suppress(HeldError):
        _set_aside(path, _refuse_if_alive(path))


def _take(path: Path, mine: dict[str, Any]) -> None:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # who finished just now removed the folder
            try:
                _create(path, json.dumps(mine))
            except FileExistsError:
                _set_aside(path, _refuse_if_alive(path))
                continue
            return


def _create(path: Path, text: str) -> None:
    """Make a file with this content at once, so that a kill leaves none without its holder.

    Raises:
        FileExistsError: If there is one.
    """
    whole = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        whole.write_text(text, encoding="utf-8")
        try:
            os.link(whole, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            _create_in_two_steps(path, text)
    finally:
        whole.unlink(missing_ok=True)


def _create_in_two_steps(path: Path, text: str) -> None:
    file = path.open("x", encoding="utf-8")
    try:
        with file:
            file.write(text)
    except OSError:  # a full disk
        path.unlink()
        raise


def _set_aside(path: Path, stale: dict[str, Any]) -> None:
    """Remove a stale lease, unless another process was quicker and its own is there already."""
    aside = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    with _one_by_one(path.parent), contextlib.suppress(FileNotFoundError):
        if _read(path) != stale:
            return
        path.rename(aside)
        if _read(aside) != stale:  # where the system knows no locks
            aside.rename(path)
    aside.unlink(missing_ok=True)


@contextmanager
def _one_by_one(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block, where the system and the file system can."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # removed meanwhile
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_if_alive(path: Path) -> dict[str, Any]:
    """What a stale lease says.

    Raises:
        HeldError: If it is not stale.
    """
    holder = _read(path)
    if not path.exists() or not _alive(path, holder):
        return holder
    who = f"process {holder.get('pid', '?')} on {holder.get('host', 'another machine')}"
    since = f"since {holder.get('started', 'a moment ago')}"
    raise HeldError(
        f"{path.parent.parent}: {who} is at work there {since} ({_name(path)}); "
        f"wait for it, or use another output folder"
    )


def _alive(path: Path, holder: dict[str, Any]) -> bool:
    if holder.get("host") == socket.gethostname():
        return _runs(int(holder["pid"]), holder["birth"])
    with contextlib.suppress(FileNotFoundError):
        return _age_s(path) < STALE_S
    return False


def _age_s(path: Path) -> float:
    probe = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-clock")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink()


def _beat(path: Path, done: threading.Event, heartbeat_s: float) -> None:
    while not done.wait(heartbeat_s):
        with contextlib.suppress(OSError):  # removed with its folder, or a server that is away
            os.utime(path)


def _myself() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "birth": _birth(os.getpid()),
        "token": uuid.uuid4().hex,
    }


def _read(path: Path) -> dict[str, Any]:
    """What a lease says; nothing if it is gone, or damaged or half written."""
    try:
        content = json.loads(path.read_bytes())
        return content if {"pid", "host", "birth", "token"} <= content.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _runs(pid: int, birth: str | None) -> bool:
    """Whether the process runs; one that got the same id later was born at another time."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _birth(pid) == birth


def _birth(pid: int) -> str | None:
    """Boot and tick at which a process started, where the system tells."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else f"{boot} {int(fields[19])}"


def _name(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)
