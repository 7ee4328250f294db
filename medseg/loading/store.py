"""The slice store: every case preprocessed once, kept on disk, shared by all who read it.

A case's folder is named after a hash of what went into it: the content of the image and label
files, the preprocessing, the organs and their values, and the version of the store. Whatever
changes, the name changes with it, so nothing stale can be served; ``prune`` clears what is no
longer used.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.case import Case
from medseg.errors import InputError, MedsegError, ResourceError
from medseg.jobs import Progress, run_each, silent
from medseg.loading.build import TEMPORARY, BuildJob, build_entry, discard, first_file
from medseg.loading.content import Content, content_of
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.stored_case import CARD, StoredCase, read_entry
from medseg.volumes.files import files_of

VERSION = 1
CASES, HASHES = "cases", "hashes"
DAY_SECONDS = 86400.0
WORTH_A_PROCESS = 32 << 20  # bytes of input; starting one costs some seconds

__all__ = ["StoredCase", "default_root", "open_store", "prune", "store_size"]


def default_root() -> Path:
    """``$MEDSEG_STORE``, or ``~/.cache/medseg/store``."""
    named = os.environ.get("MEDSEG_STORE")
    return Path(named) if named else Path.home() / ".cache" / "medseg" / "store"


def open_store(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    labels: Mapping[str, int],
    *,
    root: str | Path | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> list[StoredCase]:
    """Open the cases in the store; those it does not hold yet are prepared first.

    Args:
        cases: What to open; a case without a label has no ``classes``.
        preprocessing: What is done to every volume.
        labels: Organ → value; class k is the k-th organ, matched to the files by name.
        root: Folder of the store, ``default_root()`` if none.
        workers: Processes that prepare missing cases; fewer are used if there is little to do.
        progress: Hears of every prepared case.

    Returns:
        One stored case per case, in the same order.

    Raises:
        InputError: If cases cannot be used; it names all of them.
        ResourceError: If memory or disk ran out.
    """
    root = default_root() if root is None else Path(root)
    jobs, errors = _jobs(cases, preprocessing, labels, root)
    missing = [job for job in jobs if read_entry(job.folder, "") is None]
    if missing:
        _clear_leftovers(root)
        errors += _build_all(missing, workers, progress)
    if errors:
        raise _together(errors, len(cases))
    return [_opened(job) for job in jobs]


def store_size(root: str | Path | None = None) -> int:
    """Bytes the store takes on disk."""
    root = default_root() if root is None else Path(root)
    return sum(_bytes_of(folder) for folder in _folders(root))


def prune(
    root: str | Path | None = None,
    *,
    older_than_days: float | None = None,
    max_bytes: int | None = None,
) -> int:
    """Delete cases by their last use, and leftovers of killed processes.

    Args:
        root: Folder of the store, ``default_root()`` if none.
        older_than_days: Delete what was not opened for so long.
        max_bytes: Then delete the longest unused until the store is no larger than this.

    Returns:
        Bytes freed.
    """
    root = default_root() if root is None else Path(root)
    _clear_leftovers(root)
    by_use = sorted((_last_use(folder), folder) for folder in _folders(root))
    sizes = {folder: _bytes_of(folder) for _, folder in by_use}
    remaining, freed = sum(sizes.values()), 0
    for used, folder in by_use:
        too_old = older_than_days is not None and used < time.time() - older_than_days * DAY_SECONDS
        too_much = max_bytes is not None and remaining > max_bytes
        if too_old or too_much:
            discard(folder)
            remaining, freed = remaining - sizes[folder], freed + sizes[folder]
    return freed


def _jobs(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    labels: Mapping[str, int],
    root: Path,
) -> tuple[list[BuildJob], list[Exception]]:
    jobs: list[BuildJob] = []
    errors: list[Exception] = []
    for case in cases:
        try:
            image = content_of(case.image, root / HASHES)
            label: Content | None = image  # one file may hold both
            if case.label != case.image:
                label = None if case.label is None else content_of(case.label, root / HASHES)
        except (MedsegError, OSError) as error:
            errors.append(error)
            continue
        folder = root / CASES / _key(case, image, label, preprocessing, labels)
        states = (image.state, None if label is None else label.state)
        jobs.append(BuildJob(case, folder, preprocessing, labels, states))
    return jobs, errors


def _key(
    case: Case,
    image: Content,
    label: Content | None,
    preprocessing: Preprocessing,
    labels: Mapping[str, int],
) -> str:
    parts = {
        "version": VERSION,
        "image": image.digest,
        "label": None if label is None else label.digest,
        "preprocessing": preprocessing.to_plain(),
        "classes": list(labels),
        "file_labels": None if label is None else sorted(case.labels.items()),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _build_all(jobs: Sequence[BuildJob], workers: int, progress: Progress) -> list[Exception]:
    unique = list({job.folder: job for job in jobs}.values())
    volume_files = [path for job in unique for path in files_of(job.case.image)]
    size = sum(path.stat().st_size for path in volume_files if path.exists())
    workers = min(workers, 1 + size // WORTH_A_PROCESS)
    errors: list[Exception] = []
    progress("Preparing cases", 0, len(unique))
    for done, outcome in enumerate(run_each(build_entry, unique, workers=workers), start=1):
        if outcome.error is not None:
            errors.append(_named(outcome.item, outcome.error))
        progress("Preparing cases", done, len(unique), outcome.item.case.case_id)
    return errors


def _named(job: BuildJob, error: Exception) -> Exception:
    if isinstance(error, MedsegError):
        return error
    got = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return InputError(first_file(job.case.image), "a case that can be stored", got)


def _together(errors: Sequence[Exception], total: int) -> Exception:
    """One error for all: lack of memory or disk first, since nothing else matters then."""
    for error in errors:
        if isinstance(error, ResourceError):
            return error
    if len(errors) == 1:
        return errors[0]
    listed = "; ".join(str(error) for error in errors)
    return InputError(f"{len(errors)} of {total} cases", "usable files", listed)


def _opened(job: BuildJob) -> StoredCase:
    stored = read_entry(job.folder, job.case.case_id)
    if stored is None:
        raise InputError(job.folder, "a case just stored", "none; was the store pruned meanwhile?")
    with contextlib.suppress(OSError):  # one may have no right to touch a shared store
        os.utime(job.folder / CARD)
    return stored


def _folders(root: Path, *, temporary: bool = False) -> list[Path]:
    cases = root / CASES
    found = cases.iterdir() if cases.is_dir() else iter(())
    return [folder for folder in found if folder.name.startswith(TEMPORARY) == temporary]


def _bytes_of(folder: Path) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError):  # pruned by another process meanwhile
        total = sum(file.stat().st_size for file in folder.iterdir())
    return total


def _last_use(folder: Path) -> float:
    try:
        return (folder / CARD).stat().st_mtime
    except OSError:
        return 0.0


def _clear_leftovers(root: Path) -> None:
    for folder in _folders(root, temporary=True):
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < time.time() - DAY_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
