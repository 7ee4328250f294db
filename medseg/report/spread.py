"""Where the dots and boxes of a metric of every case lie, in percent of a row's width."""

import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.report.figures import Figure
from medseg.report.tables import CaseRow

MANY_DOTS = 20_000  # with more, the box stands alone but for what was missed or invented


@dataclass(frozen=True)
class Dot:
    """One organ of one case.

    Attributes:
        x: Percent of the row's width.
        y: Percent of the row's height; spread so that equal scores do not hide each other.
        note: What it is, in words.
        status: As in the results.
    """

    x: float
    y: float
    note: str
    status: str


@dataclass(frozen=True)
class Box:
    """Quartiles and whiskers, in percent of the row's width.

    Attributes:
        low: First quartile.
        middle: Median.
        high: Third quartile.
        whiskers: The outermost values within 1.5 times the box's length of the box.
    """

    low: float
    middle: float
    high: float
    whiskers: tuple[float, float]


@dataclass(frozen=True)
class Strip:
    """One organ's row: a dot per case and a box; ``summary`` says the same in words."""

    organ: str
    colour: str
    dots: list[Dot]
    box: Box | None
    summary: str


@dataclass(frozen=True)
class Spread:
    """All rows, with the axis they share.

    Attributes:
        figure: The metric.
        strips: One per organ.
        ticks: (percent of the width, value written out).
    """

    figure: Figure
    strips: list[Strip]
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Axis:
    """A linear axis from ``start`` to ``end`` with a tick at each multiple of ``step``."""

    start: float
    end: float
    step: float

    def percent(self, value: float) -> float:
        """Where a value lies, 0 to 100."""
        return round(100 * (value - self.start) / (self.end - self.start), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(percent, value written out)."""
        count = round((self.end - self.start) / self.step + 0.5)
        found = {round(self.end - self.step * index, 6) for index in range(count)}
        digits = 1 if self.step < 1 else 0
        ticks = sorted({value for value in found if value >= self.start} | {self.start})
        return [(self.percent(tick), f"{tick:.{digits}f}") for tick in ticks]


def spread(rows: Sequence[CaseRow], colours: Mapping[str, str], figure: Figure) -> Spread:
    """Lay out one metric of every case and organ.

    Scores end at 1 and start at the last full tenth not above the lowest one, at most at 0.5.
    Distances start at 0; an organ that was missed or invented has none and stands at the end.
    """
    entries = [entry for row in rows for entry in row.organs.values()]
    values = [entry[figure.key] for entry in entries if entry.get(figure.key) is not None]
    axis = _scores_axis(values) if figure.better == "higher" else _distance_axis(values)
    strips = [_strip(organ, colour, rows, figure, axis) for organ, colour in colours.items()]
    if len(values) > MANY_DOTS:
        for strip in strips:
            strip.dots[:] = [dot for dot in strip.dots if dot.status != "scored"]
    return Spread(figure, strips, axis.ticks)


def _scores_axis(scores: Sequence[float]) -> Axis:
    lowest = min(scores, default=0.0)
    start = min(max(math.floor(lowest * 10) / 10, 0.0), 0.5)
    return Axis(start, 1.0, 0.1 if start >= 0.4 else 0.2)


def _distance_axis(distances: Sequence[float]) -> Axis:
    largest = max(distances, default=1.0) or 1.0
    power = 10 ** math.floor(math.log10(largest / 4))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= largest / 6)
    return Axis(0.0, step * math.ceil(largest / step), step)


def _strip(organ: str, colour: str, rows: Sequence[CaseRow], figure: Figure, axis: Axis) -> Strip:
    dots, values = [], []
    for row in rows:
        entry = row.organs[organ]
        status = entry["status"]
        lost = status in ("missed", "false_positive")
        value = entry.get(figure.key)
        if value is None and not (lost and figure.headline):
            continue
        shift = zlib.crc32(row.case_id.encode()) % 1000 / 1000 - 0.5
        note = f"{row.case_id}: " + ("" if value is None else f"{value:.{figure.digits}f}")
        note += f", {status.replace('_', ' ')}" if lost else ""
        at = axis.percent(value) if value is not None else 100.0
        dots.append(Dot(at, 50 + 52 * shift, note.replace(": ,", ":"), status))
        values += [] if value is None else [float(value)]
    return Strip(organ, colour, dots, _box(values, axis), _summary(values, figure, len(dots)))


def _box(values: Sequence[float], axis: Axis) -> Box | None:
    if len(values) < 4:  # too few for quartiles to say anything
        return None
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    reach = 1.5 * (high - low)
    near = [value for value in values if low - reach <= value <= high + reach]
    ends = (axis.percent(min(near)), axis.percent(max(near)))
    return Box(axis.percent(low), axis.percent(middle), axis.percent(high), ends)


def _summary(values: Sequence[float], figure: Figure, count: int) -> str:
    if not values:
        return f"{count} cases, none with a figure"
    low, middle, high = (
        f"{value:.{figure.digits}f}"
        for value in (min(values), statistics.median(values), max(values))
    )
    return f"{count} cases, from {low} to {high}, median {middle}"
