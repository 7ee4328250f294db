"""A score against the true volume, where each organ of each case is a dot."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.report.figures import Figure
from medseg.report.tables import CaseRow

TITLED_DOTS = 4000  # with more, the words on each dot would swell the page
MANY_DOTS = 20_000  # with more, only every second, third, … is drawn


@dataclass(frozen=True)
class Point:
    """One organ of one case, in percent of the picture's width and height, from the top left."""

    x: float
    y: float
    colour: str
    status: str
    note: str


@dataclass(frozen=True)
class Scatter:
    """All points with both axes.

    Attributes:
        figure: The score.
        points: One per organ and case that the truth has.
        x_ticks: (percent, volume written out); the axis is logarithmic.
        y_ticks: (percent from the top, score written out).
        legend: Organ → colour.
        left_out: Organs without a true volume, which have no place on the axis.
        summary: The picture in a sentence.
    """

    figure: Figure
    points: list[Point]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    legend: Mapping[str, str]
    left_out: int
    summary: str


def scatter(rows: Sequence[CaseRow], colours: Mapping[str, str], figure: Figure) -> Scatter | None:
    """Lay out a score against the volume of the truth; ``None`` if no case has both."""
    found = [
        (row.case_id, organ, float(entry["volume_label_ml"]), float(entry[figure.key]), entry)
        for row in rows
        for organ, entry in row.organs.items()
        if (entry.get("volume_label_ml") or 0) > 0 and entry.get(figure.key) is not None
    ]
    if not found:
        return None
    volumes, scores = [entry[2] for entry in found], [entry[3] for entry in found]
    low, high = _decades(volumes)
    start = min(max(math.floor(min(scores) * 10) / 10, 0.0), 0.5)

    def height(score: float) -> float:
        return round(100 * (1 - score) / (1 - start), 2)

    def along(volume: float) -> float:
        return round(100 * (math.log10(volume) - low) / (high - low), 2)

    every = -(-len(found) // MANY_DOTS)
    points = [
        Point(along(volume), height(score), colours[organ], entry["status"],
              "" if len(found) > TITLED_DOTS else
              f"{case_id}, {organ}: {score:.{figure.digits}f}, {_written(volume)} ml")
        for case_id, organ, volume, score, entry in found[::every]
    ]  # fmt: skip
    step = 0.1 if start >= 0.4 else 0.2
    y_values = [round(1 - step * index, 1) for index in range(round((1 - start) / step) + 1)]
    lost = [entry for row in rows for entry in row.organs.values()
            if entry["status"] == "false_positive"]  # fmt: skip
    return Scatter(
        figure,
        points,
        x_ticks=[(along(value), f"{value:g}") for value in _round_volumes(low, high)],
        y_ticks=[(height(value), f"{value:.1f}") for value in y_values if value >= start],
        legend={organ: colour for organ, colour in colours.items()
                if any(entry[1] == organ for entry in found)},
        left_out=len(lost),
        summary=_summary(figure, volumes, scores, every),
    )  # fmt: skip


def _summary(figure: Figure, volumes: Sequence[float], scores: Sequence[float], every: int) -> str:
    drawn = f", one in {every} drawn," if every > 1 else ""
    low, high = (f"{score:.{figure.digits}f}" for score in (min(scores), max(scores)))
    sizes = f"{_written(min(volumes))} to {_written(max(volumes))} ml"
    return f"{len(volumes)} organs{drawn} of {sizes}, {figure.name} {low} to {high}"


def _written(volume: float) -> str:
    """A volume in three digits, never as a power of ten."""
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.3g}"


def _decades(volumes: Sequence[float]) -> tuple[float, float]:
    """The logarithms at which the axis starts and ends, a little beyond the volumes."""
    low, high = math.log10(min(volumes)), math.log10(max(volumes))
    margin = max(0.05, 0.04 * (high - low))
    return low - margin, high + margin


def _round_volumes(low: float, high: float) -> list[float]:
    """Round volumes between two logarithms: powers of ten, and 2 and 5 times if few."""
    for units in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        values = [
            unit * 10.0**power
            for power in range(math.floor(low), math.ceil(high) + 1)
            for unit in units
        ]
        inside = [value for value in values if low <= math.log10(value) <= high]
        if len(inside) >= 3:
            return inside
    return inside
