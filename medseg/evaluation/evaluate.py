"""Label maps and truth in, results out."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.case import Source
from medseg.errors import InputError
from medseg.evaluation.pairs import Files, Pair, find_pairs
from medseg.evaluation.run import JOURNAL, Entries, part_done, score_pairs
from medseg.evaluation.summary import summarise
from medseg.files import write_json, write_text
from medseg.jobs import JobSettings, Progress, open_journal, silent
from medseg.metrics import evaluate_case
from medseg.metrics.boxes import bounding_boxes
from medseg.volumes import Volume, corner_distance_mm, read_volume

GRID_TOLERANCE_MM = 0.1  # headers are written with rounding; a real mismatch is a voxel or more
EMPTY = "0 where missed or false positive; left out where absent from both"
PENALTY = "the image diagonal where missed or false positive; left out where absent from both"
METRICS = {
    "dsc": {"name": "DSC", "unit": "1", "better": "higher", "convention": f"Dice; {EMPTY}"},
    "hd95": {
        "name": "HD95 (pooled)", "unit": "mm", "better": "lower",
        "convention": f"one percentile of both directions pooled, as MedPy; in means {PENALTY}",
    },
    "hd95_directed": {
        "name": "HD95 (directed)", "unit": "mm", "better": "lower",
        "convention": f"the larger of both directed percentiles, as MONAI; in means {PENALTY}",
    },
}  # fmt: skip
FIGURES = ("dsc", "hd95", "hd95_directed", "volume_pred_ml", "volume_label_ml")
COLUMNS = {  # of results.csv → key of an organ's figures
    "status": "status",
    "dsc": "dsc",
    "hd95_pooled_mm": "hd95",
    "hd95_directed_mm": "hd95_directed",
    "volume_pred_ml": "volume_pred_ml",
    "volume_label_ml": "volume_label_ml",
}


def evaluate(
    predictions: Files,
    truth: str | Path | None,
    output: str | Path,
    *,
    labels: Mapping[str, int] | None = None,
    truth_labels: Mapping[str, int] | None = None,
    images: str | Path | None = None,
    workers: int = 1,
    jobs: JobSettings | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score predicted label maps against the truth, organ by organ, matched by name.

    Args:
        predictions: A label map, a folder of them, or a list of (prediction, truth) files.
        truth: A label map, a folder of them, or a case list (JSON); ``None`` with a list of
            pairs. Predictions and truth belong together if their files, without suffix, or the
            case ids of the list have one name.
        output: Folder for ``results.json`` and ``results.csv``; made if missing.
        labels: Organ name → value in the predictions. Unless given, taken from the
            ``predictions.json``, ``dataset.json`` or ``labels.json`` beside them, else that of
            the truth.
        truth_labels: Organ name → value in the truth. Unless given, taken from the case list or
            such a file beside or above the truth, else that of the predictions. The truth may
            name more organs than the predictions; the surplus is background.
        images: Image or folder of the images, noted in the results for the report. Unless
            given, taken from the case list or ``predictions.json``.
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
        UsageError: If ``labels`` or ``truth_labels`` make no sense, another process is at the
            same work in ``output``, or the cluster cannot be used.
        ResourceError: If the disk is full, or processes cannot be started.
    """
    pairs, surplus = find_pairs(
        predictions, truth, labels=labels, truth_labels=truth_labels, images=images
    )
    jobs = jobs or JobSettings()
    with open_journal(Path(output) / JOURNAL, jobs) as journal:
        found = score_pairs(
            score, pairs, journal=journal, settings={}, jobs=jobs, workers=workers,
            progress=progress,
        )  # fmt: skip
        if jobs.part is not None:
            return part_done(jobs, pairs, found)
        results = _results(pairs, found, surplus)
        write_text(Path(output) / "results.csv", _as_csv(results))
        write_json(Path(output) / "results.json", results)
        if not results["failures"]:
            journal.remove()
    return results


def _results(pairs: Sequence[Pair], found: Entries, surplus: Sequence[str]) -> dict[str, Any]:
    cases, errors = found.cases, found.errors
    order = [pair.case_id for pair in pairs]
    results = {
        "version": __version__,
        "labels": dict(pairs[0].labels),
        "metrics": METRICS,
        "cases": [cases[case_id] for case_id in order if case_id in cases],
        "failures": [{"case_id": name, "error": errors[name]} for name in order if name in errors],
        "without_truth": list(surplus),
    }
    results["summary"] = summarise(results)
    return results


def score(pair: Pair) -> dict[str, Any]:
    """The entry of one case in the results.

    Raises:
        InputError: If a file is unreadable, the grids differ, a value is not named, or the two
            sides name no organ in common.
    """
    if pair.prediction is None:
        raise InputError(pair.case_id, "a prediction", "none", hint=pair.reason)
    pred, label = _read(pair.prediction), _read(pair.label)
    _check_grid(pair, pred, label)
    _check_values(pair.prediction, pred, pair.labels)
    _check_values(_first(pair.label), label, pair.truth_labels)
    organs = {organ: value for organ, value in pair.labels.items() if organ in pair.truth_labels}
    if not organs:
        wanted = f"an organ of the truth ({', '.join(pair.truth_labels)})"
        raise InputError(pair.prediction, wanted, f"only {', '.join(pair.labels)}")
    figures = evaluate_case(
        pred.array, label.array, label.spacing, organs, truth_labels=pair.truth_labels,
        metrics=FIGURES,
    )  # fmt: skip
    extent = (size * step for size, step in zip(label.array.shape, label.spacing, strict=True))
    return {
        "case_id": pair.case_id,
        "prediction": _plain(pair.prediction),
        "label": _plain(pair.label),
        "image": None if pair.image is None else _plain(pair.image),
        "shape": list(label.array.shape),
        "spacing": list(label.spacing),
        "diagonal_mm": math.hypot(*extent),
        "organs": {
            organ: {"status": figure.status} | _null_broken(dict(figure.values))
            for organ, figure in figures.items()
        },
        "label_values": {organ: pair.truth_labels[organ] for organ in organs},
        "not_in_truth": [organ for organ in pair.labels if organ not in organs],
    }


def _read(source: Source) -> Volume:
    return read_volume(source, "label")


def _check_grid(pair: Pair, pred: Volume, label: Volume) -> None:
    wanted = f"the grid of {_first(pair.label)}, shape {label.array.shape}"
    got = "a label map predicted on another grid"
    path = _first(pair.prediction or pair.label)
    if pred.array.shape != label.array.shape:
        raise InputError(path, wanted, f"{got}, shape {pred.array.shape}")
    distance = corner_distance_mm(pred, label, label.array.shape)
    if not distance <= GRID_TOLERANCE_MM:
        far = f"corners up to {distance:.3g} mm away, more than {GRID_TOLERANCE_MM} mm"
        raise InputError(path, wanted, f"{got}, {far}")


def _check_values(path: Path, volume: Volume, labels: Mapping[str, int]) -> None:
    try:
        unknown = sorted(bounding_boxes(volume.array).keys() - set(labels.values()))
    except ValueError as error:
        raise InputError(path, "label values", str(error)) from None
    if unknown:
        named = ", ".join(f"{organ}={value}" for organ, value in labels.items())
        found = ", ".join(map(str, unknown[:10]))
        raise InputError(path, f"the values {named}", f"also {found}, which no organ has")


def _as_csv(results: Mapping[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case_id", "organ", *COLUMNS])
    for case in results["cases"]:
        for organ, figures in case["organs"].items():
            writer.writerow([case["case_id"], organ, *(figures[key] for key in COLUMNS.values())])
    return text.getvalue()


def _null_broken(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in figures.items()
    }


def _first(source: Source) -> Path:
    return source[0] if isinstance(source, tuple) else source


def _plain(source: Source) -> str | list[str]:
    if isinstance(source, tuple):
        return [str(path.resolve()) for path in source]
    return str(source.resolve())
