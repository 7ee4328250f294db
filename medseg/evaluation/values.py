"""Figures of a ``results.json`` as matrices of cases by organs, misses and inventions penalised."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.files import read_json

PENALISED = ("missed", "false_positive")
STATUSES = ("scored", *PENALISED, "absent")
USUAL = ("dsc", "hd95")  # with every nsd_*: what tables of segmentation show
DIAGONAL = "diagonal"  # as ``worst`` of a metric: the image's
NAN = float("nan")


def find_results(path: str | Path) -> Path:
    """The ``results.json`` that ``path`` is, or that lies in the folder ``path``."""
    path = Path(path)
    return path / "results.json" if path.is_dir() else path


def read_results(path: Path) -> dict[str, Any]:
    """Read ``results.json`` and check that it holds what statistics need.

    Raises:
        InputError: If the file is missing, no JSON, or not what evaluation writes.
    """
    content = read_json(path)
    wanted = "results as `medseg evaluate` writes them"
    if not isinstance(content, dict) or not str(
        content.get("format", "medseg-results/1")
    ).startswith("medseg-results/"):
        raise InputError(path, wanted, "another kind of JSON file")
    for key, kind in (("labels", dict), ("metrics", dict), ("cases", list)):
        if not isinstance(content.get(key), kind):
            raise InputError(path, wanted, f"no {key!r}")
    seen: set[str] = set()
    for case in content["cases"]:
        case_id = _checked_case(path, case, content["metrics"])
        if case_id in seen:
            raise InputError(path, "every case once", f"{case_id!r} twice")
        seen.add(case_id)
    return content


def usual_metrics(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Keys of DSC, HD95 and NSD, in the order of ``metrics``; of all that rank if none is there."""
    ranking = [key for key, metric in metrics.items() if ranks(metric)]
    usual = [key for key in ranking if key in USUAL or key.startswith("nsd_")]
    return usual or ranking


def ranks(metric: Mapping[str, Any]) -> bool:
    """Whether a metric says which of two predictions is better, penalties included."""
    headline = metric.get("headline", True) and metric.get("better") in ("higher", "lower")
    return bool(headline) and worst_and_best(metric) is not None


def worst_and_best(metric: Mapping[str, Any]) -> tuple[float | None, float] | None:
    """What stands for an organ missed or invented (``None``: the image diagonal), and perfect.

    The former is ``worst`` of the metric; by its unit where an earlier version did not say so.
    ``None`` if the metric has no such figures.
    """
    better, unit = metric.get("better"), metric.get("unit")
    if better == "higher" and unit == "1":
        worst = metric.get("worst", 0.0)
        return None if worst is None or worst == DIAGONAL else (float(worst), 1.0)
    if better == "lower" and unit == "mm":
        return (None, 0.0) if metric.get("worst", DIAGONAL) == DIAGONAL else None
    return None


def headline_values(
    cases: Sequence[Mapping[str, Any]], organs: Sequence[str], key: str, metric: Mapping[str, Any]
) -> np.ndarray:
    """One metric of every case and organ as it enters headline means.

    Args:
        cases: Entries of a ``results.json`` that :func:`read_results` would take.
        organs: Names, the columns.
        key: Of the metric in an organ's entry.
        metric: The entry of ``key`` under ``metrics``, one that :func:`ranks`.

    Returns:
        Shape (cases, organs): the figure where the organ is scored, the worst one (0, or the
        image diagonal) where it was missed or invented, ``nan`` where it is absent or unknown.

    Raises:
        ValueError: If the metric has no worst figure.
    """
    ends = worst_and_best(metric)
    if ends is None:
        raise ValueError(f"{key} has no worst figure that could stand for a missed organ")
    values = np.full((len(cases), len(organs)), NAN)
    for row, case in enumerate(cases):
        for column, organ in enumerate(organs):
            entry = case["organs"].get(organ, {})
            if entry.get("status") in PENALISED:
                values[row, column] = case["diagonal_mm"] if ends[0] is None else ends[0]
            elif entry.get("status") == "scored" and entry.get(key) is not None:
                values[row, column] = entry[key]
    return values


def status_of(case: Mapping[str, Any], organ: str) -> str | None:
    """Status of an organ in a case's entry; ``None`` where it was not evaluated."""
    status = case["organs"].get(organ, {}).get("status")
    return None if status is None else str(status)


def _checked_case(path: Path, case: Any, metrics: Mapping[str, Any]) -> str:
    case_id = case.get("case_id") if isinstance(case, dict) else None
    if not isinstance(case_id, str) or not isinstance(case.get("organs"), dict):
        raise InputError(path, "cases with 'case_id' and 'organs'", repr(case)[:60])
    for organ, entry in case["organs"].items():
        status = entry.get("status") if isinstance(entry, dict) else None
        if status not in STATUSES:
            known = ", ".join(STATUSES)
            raise InputError(path, f"a status ({known}) of {organ!r} in {case_id}", repr(status))
        for key in metrics:
            _check_number(path, f"{key} of {organ!r} in {case_id}", entry.get(key))
        if status in PENALISED and case.get("diagonal_mm") is None:
            raise InputError(path, f"'diagonal_mm' in {case_id}", "none")
    _check_number(path, f"'diagonal_mm' in {case_id}", case.get("diagonal_mm"))
    return case_id


def _check_number(path: Path, what: str, value: Any) -> None:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (numeric and math.isfinite(value)):
        raise InputError(path, f"a number as {what}", repr(value))
