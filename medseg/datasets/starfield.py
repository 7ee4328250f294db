"""Exposures made by computation, with cosmic rays whose every pixel is known.

Stars and galaxies as the seeing spreads them, on a sky whose level differs from exposure to
exposure, with photon and read noise; cosmic rays as points, straight tracks and worms, which no
optics spread. In good seeing a star is hardly wider than a hit. All numbers are electrons.

The mask holds the pixels where cosmic rays left at least three standard deviations of the empty
sky, whether or not a star hides them. To be ignored are saturated pixels, known bad ones, and the
rims of hits, where they left between 0.3 and three standard deviations: with those counted as free
of hits, a figure at 0.01 % of false alarms would measure little but where the mask's edge is drawn.

An exposure depends on the seed and its index alone, so neither the number of workers nor the
number of exposures changes it. The splits count from indices of their own. Files have deepCR's
form: ``medseg.datasets.decam.cases`` reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.datasets._starfield.detector import make
from medseg.errors import InputError, UsageError
from medseg.files import atomic_path, read_json, sha256, write_json
from medseg.jobs import Progress, run_each, silent
from medseg.volumes.exposure import SKY, Exposure

__all__ = ["COUNTS", "SIZE", "make_exposure", "write"]

GENERATOR_VERSION = 1
SIZE = 256
COUNTS: Mapping[str, int] = {"train": 240, "val": 24, "test": 60}
FIRST_INDEX = {"train": 0, "val": 100_000, "test": 200_000}
MANIFEST = "starfield.json"


@dataclass(frozen=True)
class _Job:
    """One exposure to be written."""

    root: Path
    split: str
    number: int
    seed: int
    size: int

    @property
    def case_id(self) -> str:
        return f"starfield_{self.split}_{self.number:05d}"

    @property
    def index(self) -> int:
        return FIRST_INDEX[self.split] + self.number

    @property
    def path(self) -> Path:
        return self.root / self.split / f"{self.case_id}.npy"


def make_exposure(seed: int, index: int, size: int = SIZE) -> Exposure:
    """Make one exposure.

    Args:
        seed: Of the data set.
        index: Which exposure of it, 0 or more.
        size: Pixels along each side; they keep their scale, so fewer show a smaller field.

    Raises:
        UsageError: If an argument is negative or the size below 16 pixels.
    """
    _check(seed, size)
    if index < 0:
        raise UsageError(f"index must be 0 or more, got {index}")
    return make(seed, index, size).exposure


def write(
    root: str | Path,
    *,
    counts: Mapping[str, int] = COUNTS,
    size: int = SIZE,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write a data set: a folder per split with arrays and ``sky.npy``, and ``splits.json``.

    Exposures that are there already, unchanged, are kept, so an interrupted call can be repeated
    and a data set can grow.

    Args:
        root: The folder; made if it is missing.
        counts: Exposures of each split, ``train``, ``val`` and ``test``.
        size: As in :func:`make_exposure`.
        seed: Of the data set.
        workers: Processes; they do not change the result.
        overwrite: Replace a star field in ``root`` that was made with other settings.
        progress: Hears of every exposure.

    Returns:
        The folder.

    Raises:
        InputError: If the folder holds a data set made with other settings, or other data.
        UsageError: If an argument does not fit.
    """
    root = Path(root)
    _check(seed, size)
    jobs = _jobs(root, counts, seed, size)
    manifest = _open_manifest(root, jobs, seed, size, overwrite)
    write_json(root / MANIFEST, manifest)
    done = manifest["cases"]
    wanted = [job for job in jobs if not _is_done(job, done.get(job.case_id))]
    finished = len(jobs) - len(wanted)
    progress("Making exposures", finished, len(jobs))
    try:
        for outcome in run_each(_write_exposure, wanted, workers=workers):
            done[outcome.item.case_id] = outcome.unwrap()
            finished += 1
            progress("Making exposures", finished, len(jobs), outcome.item.case_id)
    finally:
        manifest["cases"] = dict(sorted(done.items()))
        write_json(root / MANIFEST, manifest)
    splits: dict[str, list[str]] = {split: [] for split in FIRST_INDEX if split in counts}
    for job in jobs:
        splits[job.split].append(job.case_id)
    for split, case_ids in splits.items():
        if case_ids:
            levels = [done[case_id]["sky"] for case_id in case_ids]
            _save(root / split / SKY, np.array(levels))
    write_json(root / "splits.json", splits)
    return root


def _check(seed: int, size: int) -> None:
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, got {seed}")
    if size < 16:
        raise UsageError(f"size must be 16 pixels or more, got {size}")


def _jobs(root: Path, counts: Mapping[str, int], seed: int, size: int) -> list[_Job]:
    limit = FIRST_INDEX["val"]
    if not set(counts) <= set(FIRST_INDEX) or any(not 0 <= n <= limit for n in counts.values()):
        wanted = f"0 to {limit} exposures of {', '.join(FIRST_INDEX)}"
        raise UsageError(f"counts must be {wanted}, got {dict(counts)}")
    return [
        _Job(root, split, number, seed, size)
        for split in FIRST_INDEX
        for number in range(counts.get(split, 0))
    ]


def _open_manifest(
    root: Path, jobs: list[_Job], seed: int, size: int, overwrite: bool
) -> dict[str, Any]:
    """The manifest to go on with, once what is in the folder is known to fit."""
    settings = {"generator_version": GENERATOR_VERSION, "seed": seed, "size": size}
    fresh: dict[str, Any] = {"settings": settings, "cases": {}}
    if not (root / MANIFEST).exists():
        there = [name for name in (*FIRST_INDEX, "splits.json") if (root / name).exists()]
        if there:
            raise InputError(root, "an empty folder or a star field", f"other data ({there[0]})")
        return fresh
    manifest: dict[str, Any] = read_json(root / MANIFEST)
    if not isinstance(manifest, dict) or not {"settings", "cases"} <= manifest.keys():
        raise InputError(root / MANIFEST, "'settings' and 'cases'", repr(manifest)[:60])
    surplus = sorted(set(manifest["cases"]) - {job.case_id for job in jobs})
    if manifest["settings"] == settings and not surplus:
        return manifest
    if not overwrite:
        hint = "choose another folder, or overwrite it"
        got = f"{manifest['settings']}" if not surplus else f"also {surplus[0]} and others"
        raise InputError(root, f"a star field made with {settings}", got, hint)
    (root / "splits.json").unlink(missing_ok=True)
    for split in FIRST_INDEX:
        (root / split / SKY).unlink(missing_ok=True)
        for case_id in manifest["cases"]:
            (root / split / f"{case_id}.npy").unlink(missing_ok=True)
    return fresh


def _is_done(job: _Job, entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and job.path.is_file() and entry["sha256"] == sha256(job.path)


def _write_exposure(job: _Job) -> dict[str, Any]:
    made = make(job.seed, job.index, job.size)
    exposure = made.exposure
    planes = [exposure.image, exposure.mask, exposure.ignore]
    _save(job.path, np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]))
    return {
        "index": job.index,
        "sky": exposure.sky,
        "fwhm_pixels": round(made.fwhm_pixels, 3),
        "sha256": sha256(job.path),
    }


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, array)
