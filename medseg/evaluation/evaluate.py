"""Label maps and truth in, results out."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import scipy

from medseg import __version__
from medseg.evaluation.conventions import means_of
from medseg.evaluation.outputs import write_results
from medseg.evaluation.pairs import Files, Pair, find_pairs
from medseg.evaluation.run import JOURNAL, Entries, part_done, score_pairs
from medseg.evaluation.score import Scoring, plain_value, score
from medseg.evaluation.subgroups import subgroups
from medseg.evaluation.summary import summarise
from medseg.jobs import JobSettings, Progress, open_journal, silent
from medseg.metrics.case import LabelValue
from medseg.metrics.table import keys_of

FORMAT = "medseg-results/1"  # described by results.schema.json beside this file


def evaluate(
    predictions: Files,
    truth: str | Path | None,
    output: str | Path,
    *,
    labels: Mapping[str, LabelValue] | None = None,
    truth_labels: Mapping[str, LabelValue] | None = None,
    images: str | Path | None = None,
    scoring: Scoring | None = None,
    workers: int = 1,
    jobs: JobSettings | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score predicted label maps against the truth, organ by organ, matched by name.

    A prediction whose axes run in another order or direction than those of its truth is matched by
    world position; any other difference of grid is a failure of that case.

    Args:
        predictions: A label map, a folder of them, or a list of (prediction, truth) files.
        truth: A label map, a folder of them, or a case list (JSON); ``None`` with a list of
            pairs. Predictions and truth belong together if their files, without suffix, or the
            case ids of the list have one name.
        output: Folder for ``results.json``, ``results.csv``, ``results.tex`` and, in nnU-Net's
            form, ``summary.json``; made if missing.
        labels: Organ name → value in the predictions, or values of a region. Unless given, taken
            from the ``predictions.json``, ``dataset.json`` or ``labels.json`` beside them, else
            that of the truth.
        truth_labels: Organ name → value in the truth. Unless given, taken from the case list or
            such a file beside or above the truth, else that of the predictions. The truth may
            name more organs than the predictions; the surplus is background.
        images: Image or folder of the images, noted in the results for the report. Unless
            given, taken from the case list or ``predictions.json``.
        scoring: Which metrics, tolerances, regions and other programs' conventions; by default
            all metrics.
        workers: Processes on this machine.
        jobs: Parts for array jobs, their merging, or a Dask cluster; unless given, everything is
            done here.
        progress: Hears of every finished case.

    Returns:
        What ``results.json`` holds. A case that cannot be scored (no prediction, another grid,
        a value nobody named) is told under ``failures``, and the others are scored. A part
        returns which cases it did, and writes no results: merging does.

        Every finished case is kept in ``.journal`` in ``output``, so that the same call goes on
        where a former one was stopped; once every case is scored, the journal is removed.

    Raises:
        InputError: If no prediction has a truth, the organs are named nowhere, or cases are
            missing when parts are merged.
        UsageError: If ``labels``, ``truth_labels`` or a region make no sense, another process is
            at the same work in ``output``, or the cluster cannot be used.
        ResourceError: If the disk is full, or processes cannot be started.
    """
    scoring, jobs = scoring or Scoring(), jobs or JobSettings()
    pairs, surplus = find_pairs(
        predictions, truth,
        labels=labels, truth_labels=truth_labels, images=images, regions=scoring.regions,
    )  # fmt: skip
    if scoring.missing_as_empty:
        pairs = [replace(pair, reason="") for pair in pairs]
    with open_journal(Path(output) / JOURNAL, jobs) as journal:
        found = score_pairs(
            partial(score, scoring=scoring), pairs,
            journal=journal, settings=scoring.to_plain(), jobs=jobs, workers=workers,
            progress=progress,
        )  # fmt: skip
        if jobs.part is not None:
            return part_done(jobs, pairs, found)
        results = assemble(pairs, found, scoring) | {"without_truth": surplus}
        write_results(Path(output), results)
        if not results["failures"]:
            journal.remove()
    return results


def add_subgroups(
    output: str | Path, results: Mapping[str, Any], table: Path, *, by: str | None = None
) -> dict[str, Any]:
    """Add the figures of subgroups of the cases to results, and write them anew.

    Args:
        output: Folder of the results.
        results: What ``results.json`` there holds.
        table: CSV that says of each case what it belongs to.
        by: Its column, if there are several.

    Raises:
        InputError, UsageError: As :func:`medseg.evaluation.subgroups.subgroups`.
    """
    found = dict(results) | {"subgroups": subgroups(results, table, by=by)}
    write_results(Path(output), found)
    return found


def assemble(pairs: Sequence[Pair], found: Entries, scoring: Scoring) -> dict[str, Any]:
    """The results of all cases, in the order of ``pairs``, with their summary.

    Args:
        pairs: All cases that were wanted.
        found: Their entries, and why some have none.
        scoring: What was measured.
    """
    cases, errors = found.cases, found.errors
    order = [pair.case_id for pair in pairs]
    metrics = {
        key: {
            "name": metric.name, "unit": metric.unit, "better": metric.better,
            "convention": metric.convention, "headline": metric.headline, "worst": metric.worst,
        }
        for key, metric in keys_of(scoring.metrics, scoring.tolerances_mm).items()
    }  # fmt: skip
    results: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "environment": _environment(),
        "settings": scoring.to_plain(),
        "labels": {organ: plain_value(value) for organ, value in pairs[0].labels.items()},
        "metrics": metrics,
        "cases": [cases[case_id] for case_id in order if case_id in cases],
        "failures": [{"case_id": name, "error": errors[name]} for name in order if name in errors],
    }
    results["summary"] = summarise(results)
    if scoring.conventions:
        results["summary"]["conventions"] = means_of(scoring.conventions, results)
    return results


def _environment() -> dict[str, str]:
    packages = {"numpy": np, "scipy": scipy, "nibabel": nibabel}
    versions = {name: str(package.__version__) for name, package in packages.items()}
    return {"medseg": __version__, "python": platform.python_version(), **versions}
