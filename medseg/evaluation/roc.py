"""A ROC curve as files: figures in JSON, points in CSV, a picture."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg.files import atomic_path, write_json, write_text
from medseg.metrics.roc import Curve, RocCounts

POINTS = 1000  # of the curve that are written and drawn, evenly spread over log FPR
CONVENTIONS = {"ignored_left_out": False, "ignored_count_as_negative": True}


def write_roc(
    counts: RocCounts, folder: str | Path, fpr: float, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``roc.json``, ``roc.csv`` and ``roc.png``, each whole or not at all.

    Args:
        counts: All pixels that were scored.
        folder: Where to; made if missing.
        fpr: False-positive rate at which the true-positive rate is given.
        facts: What else the JSON file shall say: model, device, cases.

    Returns:
        What ``roc.json`` holds: ``fpr``; ``tpr`` with lower and upper bound under both
        conventions for ignored pixels, ``None`` where a class is missing; ``counts``; the facts.
    """
    folder = Path(folder)
    content = {
        "fpr": fpr,
        "tpr": {name: _tpr(counts, fpr, negative) for name, negative in CONVENTIONS.items()},
        "counts": {
            "positive": int(counts.positive.sum()),
            "negative": int(counts.negative.sum()),
            "ignored": counts.ignored,
        },
        **facts,
    }
    curves = {
        name: thin(counts.curve(ignored_count_as_negative=negative))
        for name, negative in CONVENTIONS.items()
    }
    write_text(folder / "roc.csv", _table(curves["ignored_left_out"]))
    _draw(folder / "roc.png", curves, fpr)
    write_json(folder / "roc.json", content)
    return content


def thin(curve: Curve, points: int = POINTS) -> Curve:
    """A curve with no more than about so many points, evenly spread over log FPR; ends kept."""
    if len(curve.fpr) <= points or np.isnan(curve.fpr).any():
        return curve
    known = curve.fpr[curve.fpr > 0]
    if not known.size:
        return Curve(*(part[[0, -1]] for part in (curve.threshold, curve.fpr, curve.tpr)))
    wanted = np.geomspace(known[0], 1, points - 2)
    kept = np.searchsorted(curve.fpr, wanted, side="right") - 1
    kept = np.unique(np.concatenate([[0], kept, [len(curve.fpr) - 1]]))
    return Curve(curve.threshold[kept], curve.fpr[kept], curve.tpr[kept])


def _tpr(counts: RocCounts, fpr: float, negative: bool) -> dict[str, float | None]:
    bounds = counts.tpr_at_fpr(fpr, ignored_count_as_negative=negative)
    pair = {"lower": bounds.lower, "upper": bounds.upper}
    return {name: None if math.isnan(value) else value for name, value in pair.items()}


def _table(curve: Curve) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["threshold", "fpr", "tpr"])
    for row in zip(curve.threshold, curve.fpr, curve.tpr, strict=True):
        writer.writerow([f"{value:.8g}" for value in row])
    return text.getvalue()


def _draw(path: Path, curves: Mapping[str, Curve], fpr: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    styles = {"ignored_left_out": "-", "ignored_count_as_negative": "--"}
    for name, curve in curves.items():
        shown = curve.fpr > 0
        axes.plot(
            curve.fpr[shown], curve.tpr[shown], styles[name], label=name.replace("_", " "),
            drawstyle="steps-post",
        )  # fmt: skip
    axes.axvline(max(fpr, 1e-9), color="grey", linewidth=0.8, label=f"FPR {fpr:g}")
    axes.set(
        xscale="log", xlabel="false-positive rate (FPR)", ylabel="true-positive rate (TPR)",
        ylim=(-0.02, 1.02),
    )  # fmt: skip
    axes.set_xlim(min(fpr, 1e-5) / 2 or 1e-9, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
