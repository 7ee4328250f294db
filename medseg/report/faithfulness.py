"""Methods of explanation, measured → one HTML file: table, curves with intervals, verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.evaluation.statistics import confidence, row_means
from medseg.files import write_text
from medseg.report.about import installed, now
from medseg.report.render import render

CONTROL = "random"
KINDS = {"deletion": "share of pixels covered", "insertion": "share of pixels shown"}
FIGURES = {  # name → heading, which way is better, what it means
    "deletion": ("deletion", "lower", "Area under the curve of the organ's probability while "
                 "pixels are covered, those first that matter most by the map. Small if it is "
                 "right."),
    "insertion": ("insertion", "higher", "Area under the curve of the organ's probability while "
                  "pixels are uncovered, those first that matter most by the map. Large if it is "
                  "right."),
    "over_random": ("over random", "higher", "Insertion less deletion, less that of a random map "
                    "of the same case. A method beats chance if the whole interval is above 0."),
    "pointing": ("pointing", "higher", "How often the largest number of the map lies in the "
                 "organ's truth."),
    "inside": ("inside", "higher", "Which share of the map lies in the organ's truth. A right map "
               "may lie outside it: networks use what is around an organ."),
    "survives": ("survives", "", "Rank correlation with the map of the same network after all its "
                 "weights were shuffled. Near 1 the map shows the image, not what was learnt; said "
                 "of methods whose whole interval is above 0.5."),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A curve with the band around it, as points of an SVG of 100 by 100.

    Attributes:
        points: Mean over cases.
        band: 95 % interval of the mean, there and back; empty for fewer than two cases.
    """

    points: str
    band: str


def write_faithfulness(path: Path, result: Mapping[str, Any]) -> None:
    """Write what was measured as a page, whole or not at all; it asks the network for nothing.

    Args:
        path: The HTML file.
        result: What is in ``faithfulness.json``.
    """
    methods = result["methods"]
    lines = {kind: {name: _line(result, name, kind) for name in methods} for kind in KINDS}
    failing = [name for name in methods if name != CONTROL and not methods[name]["beats_random"]]
    surviving = [
        name for name in methods if name != CONTROL and methods[name]["survives_shuffling"]
    ]
    page = {
        "title": f"Which explanations are faithful: {', '.join(result['organs'])}",
        "result": result,
        "methods": methods,
        "control": CONTROL,
        "failing": failing,
        "surviving": surviving,
        "figures": FIGURES,
        "kinds": KINDS,
        "lines": lines,
        "installed": installed(),
        "now": now(),
    }
    write_text(path, render("faithfulness.html.j2", page, styles=["explanation.css"]))


def _line(result: Mapping[str, Any], method: str, kind: str) -> Line:
    table = _by_case(result["measured"], method, kind)
    shares = np.linspace(0, 100, table.shape[1])
    mean = row_means(table.T)
    low, high = confidence(table)
    if np.isnan(low).any():
        return Line(_points(shares, mean), "")
    there_and_back = np.concatenate([shares, shares[::-1]]), np.concatenate([low, high[::-1]])
    return Line(_points(shares, mean), _points(*there_and_back))


def _by_case(measured: Sequence[Mapping[str, Any]], method: str, kind: str) -> np.ndarray:
    """Curves of a method, the mean over organs for each case, (cases, points)."""
    curves: dict[str, list[Sequence[float]]] = {}
    for one in measured:
        if one["method"] == method:
            curves.setdefault(one["case_id"], []).append(one[kind])
    return np.array([np.mean(own, axis=0) for own in curves.values()])


def _points(across: np.ndarray, up: np.ndarray) -> str:
    pairs = zip(across, 100 * (1 - up.clip(0, 1)), strict=True)
    return " ".join(f"{x:.4g},{y:.4g}" for x, y in pairs)
