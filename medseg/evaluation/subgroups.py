"""Figures by subgroup: cases that share a value in a column of a CSV, such as the scanner."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError, UsageError
from medseg.evaluation.statistics import Resampling, confidence, confidence_of_mean, row_means
from medseg.evaluation.values import STATUSES, headline_values, usual_metrics
from medseg.files import sha256

CASE_COLUMN = "case_id"
MANY = 12  # groups; of numbers, more are probably a measurement and no group
SOME = 5  # names said in a notice
HEADER = ["group", "organ", "n", "scored", "missed", "false pos.", "absent"]
NOTHING = "–"


def subgroups(
    results: Mapping[str, Any],
    path: str | Path,
    *,
    by: str | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of each organ in each subgroup of the cases.

    Values are text: ``1`` and ``1.0`` are two groups, and every number is a group of its own.
    Cases without a line or a value belong to no group and are named, as are lines that name no
    case.

    Args:
        results: What ``results.json`` holds.
        path: CSV (comma, semicolon or tab) with a header; cases are named in the column
            ``case_id``, or else in the first.
        by: Column; may be left out if there is only one besides that of the cases.
        resamples: Of the cases of a group, for the intervals.
        level: Of confidence.
        seed: Of the resamples.

    Returns:
        What ``results.json`` holds under ``subgroups``: ``file``, ``sha256``, ``column``,
        ``settings``, ``units`` (metric → unit), ``groups`` (value → ``cases``, ``organs``: organ →
        ``counts`` and for every metric that ranks ``{mean, median, ci_low, ci_high, n}``; ``mean``:
        the same of the organs' means, ``n`` counting organs), ``without_group`` and ``unknown``
        (case ids), ``notices``. A missed or invented organ counts as in headlines.

    Raises:
        InputError: If the file cannot be read, names a case twice with different values, or
            names no case of the results.
        UsageError: If there is no such column, or it must be named.
    """
    path, draws = Path(path), Resampling(resamples, level, seed)
    column, values = read_groups(path, by)
    known, metrics = [case["case_id"] for case in results["cases"]], results["metrics"]
    named = [case_id for case_id in known if values.get(case_id)]
    if not named:
        raise InputError(
            path,
            f"cases such as {', '.join(known[:3])}",
            "none of them",
            hint=f"name cases in a column {CASE_COLUMN!r} or in the first",
        )
    cases = {
        group: [case for case in results["cases"] if values.get(case["case_id"]) == group]
        for group in _ordered({values[case_id] for case_id in named})
    }
    found: dict[str, Any] = {
        "file": str(path.resolve()),
        "sha256": sha256(path),
        "column": column,
        "settings": {"resamples": resamples, "level": level, "seed": seed},
        "units": {key: metrics[key]["unit"] for key in usual_metrics(metrics)},
        "groups": {group: _figures(results, own, draws) for group, own in cases.items()},
        "without_group": [case_id for case_id in known if not values.get(case_id)],
        "unknown": sorted(values.keys() - {*known}),
    }
    return {**found, "notices": _notices(found)}


def subgroup_rows(
    found: Mapping[str, Any], metrics: Sequence[str] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Header and one line per group and organ, then the mean over organs of each group.

    Args:
        found: As :func:`subgroups` returns it.
        metrics: Keys; all that are there unless given.

    Returns:
        Cells as text; every metric has two: the mean with its interval, and the median.
    """
    entries = [
        (group, organ, entry)
        for group, content in found["groups"].items()
        for organ, entry in [*content["organs"].items(), (f"mean of {content['cases']} cases",
                                                          content["mean"])]
    ]  # fmt: skip
    units = {key: found["units"][key] for key in metrics or found["units"]}
    header = [found["column"], *HEADER[1:]]
    for key in units:
        header += [f"{key} mean", f"{key} median"]
    body = []
    for group, organ, entry in entries:
        counts = entry["counts"]
        cells = [str(sum(counts.values()) - counts["absent"]), *(str(counts[s]) for s in STATUSES)]
        for key, unit in units.items():
            cells += _texts(entry[key], "{:.3f}" if unit == "1" else "{:.2f}")
        body.append([group, organ, *cells])
    return header, body


def split_column(text: str) -> tuple[Path, str | None]:
    """``FILE`` or ``FILE:COLUMN`` as given on the command line; a file of that name comes first."""
    file, colon, column = text.rpartition(":")
    if not colon or Path(text).is_file() or not column or not file:
        return Path(text), None
    return Path(file), column


def read_groups(path: Path, by: str | None) -> tuple[str, dict[str, str]]:
    """The column's name, and case id → its value as text, empty where there is none."""
    lines = _lines(path)
    header = lines[0]
    cases = header.index(CASE_COLUMN) if CASE_COLUMN in header else 0
    others = [name for place, name in enumerate(header) if place != cases]
    if by is None and len(others) != 1:
        raise UsageError(f"{path}: name the column to group by, one of {', '.join(others)}")
    column = others[0] if by is None else by
    if column not in others:
        raise UsageError(f"{path}: column must be one of {', '.join(others)}, got {column!r}")
    place = header.index(column)
    values: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise InputError(path, f"{len(header)} fields in line {number}", str(len(line)))
        case_id, value = line[cases], line[place]
        if values.setdefault(case_id, value) != value:
            raise InputError(
                path, f"one {column} of case {case_id}", f"{values[case_id]!r} and {value!r}"
            )
    return column, values


def _lines(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(path, "a CSV file", "no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(path, "a CSV file in UTF-8", str(error)) from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(path, "a CSV file", str(error)) from error
    lines = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if len(lines) < 2 or len(lines[0]) < 2:
        raise InputError(path, "a header, with a column besides that of the cases, and lines",
                         f"{len(lines)} lines")  # fmt: skip
    return lines


def _figures(
    results: Mapping[str, Any], cases: Sequence[Mapping[str, Any]], draws: Resampling
) -> dict[str, Any]:
    labels, metrics = list(results["labels"]), results["metrics"]
    organs: dict[str, dict[str, Any]] = {
        organ: {"counts": _counts(cases, organ)} for organ in labels
    }
    mean: dict[str, Any] = {
        "counts": {s: sum(entry["counts"][s] for entry in organs.values()) for s in STATUSES}
    }
    for key in usual_metrics(metrics):
        values = headline_values(cases, labels, key, metrics[key])
        ends = confidence(values, resamples=draws.resamples, level=draws.level, seed=draws.seed)
        for organ, column, low, high in zip(labels, values.T, *ends, strict=True):
            there = column[~np.isnan(column)]
            organs[organ][key] = _entry(there, float(low), float(high))
        means = row_means(values.T)
        mean[key] = _entry(
            means[~np.isnan(means)],
            *confidence_of_mean(
                values, resamples=draws.resamples, level=draws.level, seed=draws.seed
            ),
        )
    return {"cases": len(cases), "organs": organs, "mean": mean}


def _entry(figures: np.ndarray, low: float, high: float) -> dict[str, Any]:
    return {
        "mean": float(figures.mean()) if figures.size else None,
        "median": float(np.median(figures)) if figures.size else None,
        "ci_low": _plain(low),
        "ci_high": _plain(high),
        "n": int(figures.size),
    }


def _counts(cases: Sequence[Mapping[str, Any]], organ: str) -> dict[str, int]:
    statuses = [case["organs"].get(organ, {}).get("status") for case in cases]
    return {status: statuses.count(status) for status in STATUSES}


def _notices(found: Mapping[str, Any]) -> list[str]:
    said = []
    for key, text in (
        ("without_group", f"without a {found['column']}, so in no group"),
        ("unknown", f"in {found['file']} that the results do not have"),
    ):
        names = found[key]
        if names:
            rest = f" and {len(names) - SOME} more" if len(names) > SOME else ""
            said.append(f"Cases {text}: {', '.join(names[:SOME])}{rest}.")
    groups = found["groups"]
    if len(groups) > MANY and all(_number(group) is not None for group in groups):
        said.append(
            f"Every number in {found['column']} is a group of its own, {len(groups)} in all; "
            "put ranges into a column of text to group by them."
        )
    return said


def _ordered(groups: set[str]) -> list[str]:
    """By number where all are numbers, else by name."""
    numbers = {group: _number(group) for group in groups}
    if any(number is None for number in numbers.values()):
        return sorted(groups)
    return sorted(groups, key=lambda group: (numbers[group], group))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _texts(entry: Mapping[str, Any], form: str) -> list[str]:
    mean, low, high, median = (
        NOTHING if entry[name] is None else form.format(entry[name])
        for name in ("mean", "ci_low", "ci_high", "median")
    )
    return [mean if NOTHING in (low, high) else f"{mean} [{low}, {high}]", median]


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
