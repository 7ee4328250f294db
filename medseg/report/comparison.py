"""``comparison.json`` → what its page shows: differences, ranks, regressions, and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.files import read_json
from medseg.report.about import installed, now
from medseg.report.colours import organ_colours
from medseg.report.figures import Figure, figures_of
from medseg.report.notes import notes_on
from medseg.report.privacy import name_of, only_names
from medseg.report.read import check_keys, check_numbers
from medseg.report.side_by_side import CaseSideBySide, side_by_side
from medseg.report.spread import Axis

FORMAT = "medseg-comparison/"
CASES_SHOWN = 3
REGRESSIONS_SHOWN = 10
DIFFERENCE = ("mean", "median", "ci_low", "ci_high", "p", "p_holm")
MEAN = "mean over organs"


@dataclass(frozen=True)
class Bar:
    """One row of the picture of differences, in percent of its width.

    Attributes:
        name: The organ, or the mean over all.
        at: The mean difference.
        span: Its confidence interval, if there is one.
        verdict: ``"model"``, ``"reference"`` or empty where nothing is significant.
    """

    name: str
    at: float | None
    span: tuple[float, float] | None
    verdict: str


@dataclass(frozen=True)
class Differences:
    """One metric of one pair of models: a row per organ and the mean, and the bars with axis."""

    figure: Figure
    rows: Mapping[str, Mapping[str, Any]]
    bars: list[Bar]
    ticks: list[tuple[float, str]]


def is_comparison(content: Any) -> bool:
    """Whether JSON is what ``medseg compare`` writes."""
    return isinstance(content, dict) and str(content.get("format", "")).startswith(FORMAT)


def read_comparison(path: Path) -> dict[str, Any]:
    """Read ``comparison.json`` and check the parts that its page shows.

    Raises:
        InputError: If the file is missing, no JSON, or of another form.
    """
    content = read_json(path)
    wanted = {"models": list, "organs": list, "cases": list, "metrics": dict, "values": dict,
              "figures": dict, "pairs": list, "ranking": dict}  # fmt: skip
    check_keys(path, content, wanted, "comparison")
    for model in content["models"]:
        check_keys(path, model, {"name": str, "results": str}, "a model")
    for pair in content["pairs"]:
        check_keys(path, pair, {"reference": str, "model": str, "metrics": dict}, "a pair")
        for key, metric in pair["metrics"].items():
            where = f"{key} of {pair['model']!r}"
            check_keys(path, metric, {"organs": dict, "mean": dict}, where)
            for entry in (*metric["organs"].values(), metric["mean"]):
                check_keys(path, entry, {}, where)
                check_numbers(path, {**dict.fromkeys(DIFFERENCE), **entry}, DIFFERENCE, where)
    return dict(content)


def comparison_page(
    content: Mapping[str, Any], source: Path, *, images: bool = True
) -> dict[str, Any]:
    """Everything the page of a comparison shows.

    Args:
        content: ``comparison.json``.
        source: The file itself, where relative paths start.
        images: Whether to draw the cases in which the models differ most.
    """
    figures = figures_of({"metrics": content["metrics"], "cases": []})
    names = [model["name"] for model in content["models"]]
    paths = {path for model in content["models"]
             for path in (model["results"], str(Path(model["results"]).parent))}  # fmt: skip
    colours = organ_colours(content.get("labels") or content["organs"])
    return {
        "title": f"Comparison of {', '.join(names)}",
        "facts": {"Written": now(), "Cases": str(len(content["cases"])),
                  "Organs": str(len(content["organs"])), "Reference": names[0] if names else ""},
        "names": names,
        "figures": figures,
        "models": [{**model, "results": name_of(model["results"])} for model in content["models"]],
        "cells": content["figures"],
        "organs": content["organs"],
        "ranking": content["ranking"],
        "pairs": [_pair(pair, figures) for pair in content["pairs"]],
        "notices": [only_names(str(notice), paths) for notice in content.get("notices", [])],
        "settings": {str(key): str(value) for key, value in content.get("settings", {}).items()},
        "installed": installed(),
        "looks": _looks(content, figures, source, colours) if images else [],
        "images": images,
        "colours": colours,
        "notes": notes_on(figures),
        "mean_name": MEAN,
    }  # fmt: skip


def _pair(pair: Mapping[str, Any], figures: Sequence[Figure]) -> dict[str, Any]:
    regressions = pair.get("regressions") or {}
    return {
        "reference": pair["reference"],
        "model": pair["model"],
        "differences": [
            _differences(figure, pair["metrics"][figure.key])
            for figure in figures
            if figure.key in pair["metrics"]
        ],
        "regressions": {
            figure: list(regressions[figure.key])[:REGRESSIONS_SHOWN]
            for figure in figures
            if regressions.get(figure.key)
        },
        "status_changes": pair.get("status_changes") or [],
    }


def _differences(figure: Figure, metric: Mapping[str, Any]) -> Differences:
    rows = {**metric["organs"], MEAN: metric["mean"]}
    numbers = [
        entry[key]
        for entry in rows.values()
        for key in ("mean", "ci_low", "ci_high")
        if entry.get(key) is not None
    ]
    reach = max((abs(number) for number in numbers), default=0.0) or 1.0
    axis = Axis(-reach, reach, reach)
    bars = [
        Bar(
            name,
            None if entry.get("mean") is None else axis.percent(entry["mean"]),
            None
            if entry.get("ci_low") is None or entry.get("ci_high") is None
            else (axis.percent(entry["ci_low"]), axis.percent(entry["ci_high"])),
            str(entry.get("better") or ""),
        )
        for name, entry in rows.items()
    ]
    written = f"{reach:.{figure.digits}f}"
    ticks = [(0.0, f"−{written}"), (50.0, "0"), (100.0, f"+{written}")]
    return Differences(figure, rows, bars, ticks)


def _looks(
    content: Mapping[str, Any],
    figures: Sequence[Figure],
    source: Path,
    colours: Mapping[str, str],
) -> list[CaseSideBySide]:
    if not figures:
        return []
    values = content["values"].get(figures[0].key, {})
    means = {name: part["mean"] for name, part in values.items()}
    return [
        side_by_side(
            case_id,
            {model["name"]: Path(model["results"]) for model in content["models"]},
            {name: mean[index] for name, mean in means.items()},
            colours,
            source.parent,
        )
        for index, case_id in most_different(content["cases"], means)
    ]


def most_different(
    cases: Sequence[str], means: Mapping[str, Sequence[float | None]]
) -> list[tuple[int, str]]:
    """The cases in which the models' figures lie furthest apart, as (index, case id)."""
    apart = []
    for index, case_id in enumerate(cases):
        known = [mean[index] for mean in means.values()]
        there = [value for value in known if value is not None]
        if len(there) > 1 and max(there) > min(there):
            apart.append((min(there) - max(there), index, case_id))
    return [(index, case_id) for _, index, case_id in sorted(apart)[:CASES_SHOWN]]
