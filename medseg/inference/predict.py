"""Volumes in, label maps on their own grids out: jobs that go on where they were stopped."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from medseg.case import Case
from medseg.errors import ResourceError, UsageError
from medseg.inference.inputs import cases_of
from medseg.inference.job import Job, images_at_once, loaded, unload
from medseg.inference.manifest import MANIFEST, Manifest
from medseg.inference.models import card_of
from medseg.inference.predictor import Predictor, PredictSettings, pick_device, predict_volume
from medseg.inference.work import fingerprint, holds, predict_case
from medseg.jobs import JobSettings, Journal, Order, Progress, join_job, run_claimed, silent
from medseg.jobs.claims import WORKERS
from medseg.jobs.lease import names_in

__all__ = ["MANIFEST", "PredictSettings", "Predictor", "pick_device", "predict", "predict_volume"]
EXTRAS = ("probabilities", "seg", "rtstruct")
FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha")


def predict(
    input: str | Path,
    output: str | Path,
    *,
    model: str | Path | Sequence[str | Path],
    settings: PredictSettings | None = None,
    series_uid: str | None = None,
    workers: int = 1,
    jobs: JobSettings | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Predict one label map per case on the grid of its input file.

    In one process the next case is read and the last one written while the network runs, with no
    more than two images in memory; not so where memory is bounded.

    Stopped, or given new cases, it goes on when it is called again: a label map is kept if it is
    as it was written and image, model and settings are the same. Any number of processes may
    work into one folder; each case is done by one of them.

    Args:
        input: A volume or a DICOM series (folder or zip), a folder of them, a case list (JSON) or
            a table (CSV).
        output: Folder for the label maps, each named after its case; made if missing.
        model: Model folder, run folder with ``model/`` in it, or MONAI bundle (see
            ``docs/bundles.md``); of several, folds of a cross-validation say, the probabilities
            are averaged.
        settings: How to run; the defaults suit most.
        series_uid: Which series, where a DICOM folder or zip holds several.
        workers: Processes on this machine, each with the model in its memory.
        jobs: Which share of the cases, and whether a cluster predicts them.
        progress: Hears of every finished case.

    Returns:
        What ``predictions.json`` in the folder holds: versions, the organs' values, the path
        through the network, and per case its status, label map, hashes, seconds and, if it
        failed, the error. One bad case never stops the others; the error of an only case is
        raised.

    Raises:
        InputError: If there is nothing to predict, or the only case cannot be read.
        ModelError: If the model is missing, damaged or not trusted.
        UsageError: If label maps are there that no such job has written and ``overwrite`` is
            off, or if another job is at work in the folder.
        ResourceError: If memory or disk run out.
    """
    settings = _checked(settings or PredictSettings())
    cases = _without_output(cases_of(input, series_uid), Path(output).resolve())
    given = (model,) if isinstance(model, (str, Path)) else tuple(model)
    folders = tuple(model_folder_of(one).resolve() for one in given)
    cards = tuple(map(card_of, folders))
    job = Job(folders, cards, Path(output).resolve(), settings, series_uid)
    _refuse_overwriting(job, cases)
    new = not job.output.exists()
    try:
        loaded(job)
        if workers > 1 or (jobs and jobs.cluster):
            unload()  # others have it in their memory
        with join_job(job.journal, job.digest):
            return _run(job, cases, workers, jobs or JobSettings(), progress)
    except BaseException:
        if new and len(cases) == 1:
            _leave_nothing(job)
        raise
    finally:
        unload()


def model_folder_of(path: str | Path) -> Path:
    """The model folder at ``path`` itself, or within the run folder that ``path`` is."""
    inner = Path(path) / "model"
    return inner if (inner / "model.json").is_file() else Path(path)


def _checked(settings: PredictSettings) -> PredictSettings:
    if settings.suffix not in FORMATS:
        raise UsageError(f"format {settings.suffix!r}: expected one of {', '.join(FORMATS)}")
    unknown = [name for name in settings.extras if name not in EXTRAS]
    if unknown:
        raise UsageError(f"extra {unknown[0]!r}: expected one of {', '.join(EXTRAS)}")
    return replace(settings, extras=tuple(settings.extras))


def _without_output(cases: Sequence[Case], output: Path) -> list[Case]:
    """The cases but for the output folder, which DICOM SEG in it makes look like a series.

    Raises:
        UsageError: If the output folder lies in a series: it would be hashed as a part of it.
    """
    ours = (output / MANIFEST).is_file() and len(cases) > 1
    left = [case for case in cases if not (ours and _files(case) == [output])]
    for path in (path for case in left for path in _files(case)):
        if path in (output, *output.parents):
            raise UsageError(f"{output}: within the series {path}; use a folder outside it")
    return left


def _run(
    job: Job, cases: Sequence[Case], workers: int, jobs: JobSettings, progress: Progress
) -> dict[str, Any]:
    order = Order(
        partial(predict_case, job), _case_id, partial(fingerprint, job), partial(holds, job),
        folder=job.journal, anew=job.settings.overwrite,
    )  # fmt: skip
    manifest, total = Manifest(job, cases), len(jobs.share_of(cases))
    ahead = images_at_once(job.settings)
    threads = ahead + 1 if ahead > 1 else 1  # one more writes
    progress("Predicting", 0, total)
    try:
        for done, outcome in enumerate(
            run_claimed(order, cases, settings=jobs, workers=workers, threads=threads), 1
        ):
            if len(cases) == 1:
                outcome.unwrap()
            manifest.add(outcome)
            progress("Predicting", done, total, outcome.item.case_id)
    except BaseException:
        if len(cases) > 1:
            with contextlib.suppress(OSError, ResourceError):
                manifest.finish()
        raise
    return manifest.finish()


def _refuse_overwriting(job: Job, cases: Sequence[Case]) -> None:
    """Refuse to replace what the journal knows nothing of, and images in any case."""
    journal = Journal(job.journal)
    targets = {path: case for case in cases for path in job.outputs(case)}
    images = {path for case in cases for path in _files(case) if path in targets}
    if images:
        raise UsageError(f"{min(images)}: an image, it is never overwritten; use another folder")
    there = [path for path in targets if path.exists()]
    foreign = [path for path in there if journal.stamp(targets[path].case_id) == (0, 0)]
    if foreign and not job.settings.overwrite:
        more = f", as are {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UsageError(
            f"{foreign[0]}: there already{more}, and not of this job; --overwrite replaces it, or "
            f"use another folder"
        )


def _leave_nothing(job: Job) -> None:
    """Remove the folder that was made for an only case which failed."""
    if not names_in(job.journal / WORKERS):  # nobody joined us meanwhile
        Journal(job.journal).remove()
        with contextlib.suppress(OSError):
            job.output.rmdir()


def _files(case: Case) -> list[Path]:
    sources = case.image if isinstance(case.image, tuple) else (case.image,)
    with contextlib.suppress(OSError, RuntimeError):  # a loop of links
        return [path.resolve() for path in sources]
    return []


def _case_id(case: Case) -> str:
    return case.case_id
