"""Abdominal CT made by computation, with the eight organs of Synapse: data that nobody must send.

Every case is a patient of its own: build, organ sizes and places, contrast phase, field of view,
spacing and orientation differ. Nothing in it stems from a real scan; it serves demonstrations and
tests, not medicine.

A case depends on the seed and its index alone, so neither the number of workers nor the number of
cases changes it. The splits count from indices of their own: a larger training set never runs
into the test set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.case import Case
from medseg.datasets._phantom.body import LABELS
from medseg.datasets._phantom.scan import scan_case, scan_excerpt
from medseg.errors import InputError, UsageError
from medseg.files import read_json, sha256, write_json
from medseg.jobs import Progress, run_each, silent
from medseg.volumes import Volume, write_label_map, write_volume

__all__ = ["COUNTS", "LABELS", "SIZE", "cases", "make_case", "make_excerpt", "write"]

GENERATOR_VERSION = 1
SIZE = (128, 128, 44)
COUNTS: Mapping[str, int] = {"train": 40, "val": 6, "test": 10}
FIRST_INDEX = {"train": 0, "val": 100_000, "test": 200_000}
MANIFEST = "phantom.json"


@dataclass(frozen=True)
class _Job:
    """One case to be written."""

    root: Path
    case_id: str
    index: int
    seed: int
    size: tuple[int, int, int]

    @property
    def image(self) -> Path:
        return self.root / "images" / f"{self.case_id}.nii.gz"

    @property
    def label(self) -> Path:
        return self.root / "labels" / f"{self.case_id}.nii.gz"


def make_case(seed: int, index: int, size: tuple[int, int, int] = SIZE) -> tuple[Volume, Volume]:
    """Make one case.

    Args:
        seed: Of the data set.
        index: Which case of it, 0 or more.
        size: Voxels from side to side, back to front and foot to head. The field of view is that
            of an abdominal scan whatever the size, so fewer voxels are larger ones. The file's
            axes may be swapped, and its shape with them.

    Returns:
        The image in HU, int16, and the label map with the values of ``LABELS``, uint8, on the
        same grid. An organ outside the field of view is absent.

    Raises:
        UsageError: If an argument is negative or a size below 8 voxels.
    """
    _check(seed, size)
    if index < 0:
        raise UsageError(f"index must be 0 or more, got {index}")
    image, label, _, _ = scan_case(seed, index, size)
    return image, label


def make_excerpt(
    seed: int, index: int, *, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[Volume, Volume]:
    """Make a case on a grid of one's own, in the middle of the organs, at any spacing.

    Args:
        seed: Of the data set.
        index: Which case of it, 0 or more.
        shape: Voxels from left to right, back to front and foot to head, 8 or more each.
        spacing: Along the same axes, in mm.

    Returns:
        As :func:`make_case`, stored as RAS.

    Raises:
        UsageError: If an argument is negative or a size below 8 voxels.
    """
    _check(seed, shape)
    if index < 0 or min(spacing) <= 0:
        raise UsageError(f"index must be 0 or more, spacing above 0, got {index} and {spacing}")
    return scan_excerpt(seed, index, shape, spacing)


def write(
    root: str | Path,
    *,
    counts: Mapping[str, int] = COUNTS,
    size: tuple[int, int, int] = SIZE,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write a data set: ``images/``, ``labels/``, ``dataset.json``, ``splits.json``.

    Cases that are there already, unchanged, are kept, so an interrupted call can be repeated and
    a data set can grow.

    Args:
        root: The folder; made if it is missing.
        counts: Cases of each split, ``train``, ``val`` and ``test``.
        size: As in :func:`make_case`.
        seed: Of the data set.
        workers: Processes; they do not change the result.
        overwrite: Replace a phantom data set in ``root`` that was made with other settings.
        progress: Hears of every case.

    Returns:
        The folder.

    Raises:
        InputError: If the folder holds a data set made with other settings, or other data.
        UsageError: If an argument does not fit.
    """
    root = Path(root)
    _check(seed, size)
    jobs = {split: _jobs(root, split, counts, seed, size) for split in _splits(counts)}
    every = [job for split_jobs in jobs.values() for job in split_jobs]
    manifest = _open_manifest(root, every, seed, size, overwrite)
    write_json(root / MANIFEST, manifest)
    done = manifest["cases"]
    wanted = [job for job in every if not _is_done(job, done.get(job.case_id))]
    finished = len(every) - len(wanted)
    progress("Making phantom cases", finished, len(every))
    try:
        for outcome in run_each(_write_case, wanted, workers=workers):
            done[outcome.item.case_id] = outcome.unwrap()
            finished += 1
            progress("Making phantom cases", finished, len(every), outcome.item.case_id)
    finally:
        manifest["cases"] = dict(sorted(done.items()))
        write_json(root / MANIFEST, manifest)
    _describe(root, jobs)
    return root


def cases(root: str | Path, *, split: str = "train") -> list[Case]:
    """The cases of one split of a data set made by :func:`write`.

    Args:
        root: Its folder.
        split: ``train``, ``val`` or ``test``.

    Returns:
        The cases; ``group`` tells contrast phase and orientation.

    Raises:
        InputError: If the folder is no phantom data set, or an unfinished one.
        UsageError: If there is no such split.
    """
    root = Path(root)
    manifest, splits = _read_manifest(root), read_json(root / "splits.json")
    if split not in splits:
        raise UsageError(f"split must be one of {', '.join(splits)}, got {split!r}")
    missing = [case_id for case_id in splits[split] if case_id not in manifest["cases"]]
    if missing:
        raise InputError(root, "a finished phantom", f"no case {missing[0]}", "write it again")
    return [
        Case(
            case_id,
            root / "images" / f"{case_id}.nii.gz",
            root / "labels" / f"{case_id}.nii.gz",
            labels=LABELS,
            patient_id=case_id,
            group=manifest["cases"][case_id]["group"],
        )
        for case_id in splits[split]
    ]


def _check(seed: int, size: tuple[int, int, int]) -> None:
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, got {seed}")
    if len(size) != 3 or min(size) < 8:
        raise UsageError(f"size must be three numbers of voxels, 8 or more each, got {size}")


def _splits(counts: Mapping[str, int]) -> list[str]:
    unknown = sorted(set(counts) - set(FIRST_INDEX))
    limit = FIRST_INDEX["val"]
    if unknown or any(not 0 <= count <= limit for count in counts.values()):
        wanted = f"0 to {limit} cases of {', '.join(FIRST_INDEX)}"
        raise UsageError(f"counts must be {wanted}, got {dict(counts)}")
    return [split for split in FIRST_INDEX if split in counts]


def _jobs(
    root: Path, split: str, counts: Mapping[str, int], seed: int, size: tuple[int, int, int]
) -> list[_Job]:
    return [
        _Job(root, f"phantom_{split}_{number:04d}", FIRST_INDEX[split] + number, seed, size)
        for number in range(counts[split])
    ]


def _open_manifest(
    root: Path, jobs: list[_Job], seed: int, size: tuple[int, int, int], overwrite: bool
) -> dict[str, Any]:
    """The manifest to go on with, once what is in the folder is known to fit."""
    settings = {"generator_version": GENERATOR_VERSION, "seed": seed, "size": list(size)}
    fresh = {"settings": settings, "cases": {}}
    if not (root / MANIFEST).exists():
        _refuse_other_data(root)
        return fresh
    manifest = _read_manifest(root)
    surplus = sorted(set(manifest["cases"]) - {job.case_id for job in jobs})
    if manifest["settings"] == settings and not surplus:
        return manifest
    if not overwrite:
        hint = "choose another folder, or overwrite it"
        got = f"{manifest['settings']}" if not surplus else f"also {surplus[0]} and others"
        raise InputError(root, f"a phantom made with {settings}", got, hint)
    for name in ("dataset.json", "splits.json"):
        (root / name).unlink(missing_ok=True)
    for case_id in manifest["cases"]:
        for folder in ("images", "labels"):
            (root / folder / f"{case_id}.nii.gz").unlink(missing_ok=True)
    return fresh


def _refuse_other_data(root: Path) -> None:
    for name in ("images", "labels", "dataset.json"):
        if (root / name).exists():
            raise InputError(root, "an empty folder or a phantom", f"other data ({name})")


def _read_manifest(root: Path) -> dict[str, Any]:
    manifest = read_json(root / MANIFEST)
    if not isinstance(manifest, dict) or not {"settings", "cases"} <= manifest.keys():
        raise InputError(root / MANIFEST, "'settings' and 'cases'", repr(manifest)[:60])
    return manifest


def _is_done(job: _Job, entry: Mapping[str, Any] | None) -> bool:
    return (
        entry is not None
        and job.image.is_file()
        and job.label.is_file()
        and entry["image_sha256"] == sha256(job.image)
        and entry["label_sha256"] == sha256(job.label)
    )


def _write_case(job: _Job) -> dict[str, Any]:
    image, label, body, scan = scan_case(job.seed, job.index, job.size)
    write_volume(job.image, image)
    write_label_map(job.label, label)
    return {
        "index": job.index,
        "group": {"phase": body.patient.phase, "orientation": scan.orientation},
        "image_sha256": sha256(job.image),
        "label_sha256": sha256(job.label),
    }


def _describe(root: Path, jobs: Mapping[str, list[_Job]]) -> None:
    """Write the description as the Decathlon does, and the splits."""
    every = [job for split_jobs in jobs.values() for job in split_jobs]
    names = [f"{job.case_id}.nii.gz" for job in every]
    description = {
        "name": "Phantom",
        "description": "Abdominal CT made by computation, eight organs",
        "licence": "as medseg",
        "release": f"generator {GENERATOR_VERSION}",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background"} | {str(value): organ for organ, value in LABELS.items()},
        "numTraining": len(every),
        "numTest": 0,
        "training": [{"image": f"./images/{n}", "label": f"./labels/{n}"} for n in names],
        "test": [],
    }
    write_json(root / "dataset.json", description)
    write_json(root / "splits.json", {s: [job.case_id for job in own] for s, own in jobs.items()})
