"""Read what a report is made of: results, and the run folder they may come from."""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.files import read_json

STATUSES = ("scored", "missed", "false_positive", "absent")
VOLUMES = ("volume_pred_ml", "volume_label_ml")
Columns = Mapping[str, list[float]]


@dataclass(frozen=True)
class Run:
    """What a run folder says of a training; whatever is not there is empty.

    Attributes:
        folder: The run folder.
        config: ``config.yaml`` as text.
        model: ``model/model.json``.
        history: Column → one number per epoch, ``nan`` where a field is empty.
        iterations: Column → one number per iteration.
    """

    folder: Path
    config: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    history: Columns = field(default_factory=dict)
    iterations: Columns = field(default_factory=dict)


def find_results(path: str | Path) -> Path:
    """The file that ``path`` is, or the ``results.json`` in it, else its ``comparison.json``."""
    path = Path(path)
    if not path.is_dir():
        return path
    found = path / "results.json", path / "comparison.json"
    return found[1] if found[1].is_file() and not found[0].is_file() else found[0]


def read_results(path: Path) -> dict[str, Any]:
    """Read ``results.json`` and check that it holds all that the report shows.

    Raises:
        InputError: If the file is missing, no JSON, or not of the form that evaluation writes.
    """
    content = read_json(path)
    check_keys(path, content, {"labels": dict, "metrics": dict, "cases": list, "summary": dict})
    check_keys(path, content["summary"], {"organs": dict, "mean": dict}, "summary")
    for name, metric in content["metrics"].items():
        check_keys(path, metric, {}, f"metric {name!r}")
    _check_summary(path, content)
    for case in content["cases"]:
        _check_case(path, case, content)
    failures = content.setdefault("failures", [])
    for failure in failures if isinstance(failures, list) else [failures]:
        check_keys(path, failure, {"case_id": str, "error": str}, "a failure")
    return dict(content)


def read_run(folder: str | Path) -> Run:
    """Read what is there of a run folder.

    Raises:
        InputError: If the folder does not exist or one of its files is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "a run folder", "no such folder")
    config, card = folder / "config.yaml", folder / "model" / "model.json"
    model = read_json(card) if card.is_file() else {}
    if not isinstance(model, dict):
        raise InputError(card, "a model card", type(model).__name__)
    return Run(
        folder,
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        model=model,
        history=read_columns(folder / "history.csv"),
        iterations=read_columns(folder / "iterations.csv"),
    )


def read_columns(path: Path) -> dict[str, list[float]]:
    """Read a table of numbers by column; empty if there is no file, ``nan`` for empty fields.

    Raises:
        InputError: If a field is no number.
    """
    if not path.is_file():
        return {}
    columns: dict[str, list[float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for row in reader:
            for name in reader.fieldnames or ():
                columns.setdefault(name, []).append(_number(path, reader.line_num, name, row[name]))
    return columns


def _number(path: Path, line: int, name: str, text: str | None) -> float:
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise InputError(path, f"a number for {name!r} in line {line}", repr(text[:40])) from None


def _check_summary(path: Path, content: Mapping[str, Any]) -> None:
    """Headline metrics must be there; whatever else is there must be numbers."""
    summary, metrics = content["summary"], content["metrics"]
    headline = [name for name, metric in metrics.items() if metric.get("headline", True)]
    check_numbers(path, summary["mean"], headline, "the mean over the organs")
    check_numbers(path, summary["mean"], summary["mean"], "the mean over the organs")
    for organ in content["labels"]:
        where, entry = f"the summary of {organ!r}", summary["organs"].get(organ)
        check_keys(path, entry, {"counts": dict, **dict.fromkeys(headline, dict)}, where)
        check_keys(path, entry["counts"], dict.fromkeys(STATUSES, int), where)
        for name in [name for name in metrics if name in entry]:
            check_keys(path, entry[name], {}, f"{name} in {where}")
            wanted = ("mean", *entry[name]) if name in headline else entry[name]
            check_numbers(path, entry[name], wanted, f"{name} in {where}")


def _check_case(path: Path, case: Any, content: Mapping[str, Any]) -> None:
    check_keys(path, case, {"case_id": str, "organs": dict}, "a case")
    unknown = case.get("not_in_truth", [])  # organs the truth does not name, so never compared
    for organ in content["labels"]:
        where = f"case {case['case_id']!r}, organ {organ!r}"
        entry = case["organs"].get(organ)
        if entry is None and isinstance(unknown, list) and organ in unknown:
            continue
        check_keys(path, entry, {"status": str}, where)
        if entry["status"] not in STATUSES:
            raise InputError(path, f"one of {', '.join(STATUSES)} in {where}", entry["status"])
        names = [name for name in (*content["metrics"], *VOLUMES) if name in entry]
        check_numbers(path, entry, names, where)


def check_keys(
    path: Path, content: Any, wanted: Mapping[str, type], where: str = "results"
) -> None:
    """Refuse anything but a mapping that has keys of the types wanted."""
    if not isinstance(content, dict):
        raise InputError(path, f"a mapping for {where}", type(content).__name__)
    for key, kind in wanted.items():
        if not isinstance(content.get(key), kind):
            got = type(content[key]).__name__ if key in content else "nothing of that name"
            raise InputError(path, f"{key!r} ({kind.__name__}) in {where}", got)


def check_numbers(path: Path, content: Any, names: Iterable[str], where: str) -> None:
    """Refuse a mapping in which one of the names is neither a finite number nor null."""
    for name in names:
        value = content.get(name, "nothing of that name")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value)):
            raise InputError(path, f"a number or null as {name!r} in {where}", repr(value)[:40])
