"""Where the dots and boxes of the DSC of every case lie, in percent of a row's width."""

import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.report.tables import CaseRow


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
class Strip:
    """One organ's row: a dot per case, and a box from the first to the third quartile."""

    organ: str
    colour: str
    dots: list[Dot]
    box: tuple[float, float, float] | None


@dataclass(frozen=True)
class Spread:
    """All rows, with the axis they share.

    Attributes:
        strips: One per organ.
        ticks: (percent of the width, DSC written out).
    """

    strips: list[Strip]
    ticks: list[tuple[float, str]]


def spread(rows: Sequence[CaseRow], colours: Mapping[str, str]) -> Spread:
    """Lay out the DSC of every case and organ.

    The axis ends at 1 and starts at the last full tenth not above the lowest score, at most at 0.5.
    """
    scores = [entry["dsc"] for row in rows for entry in row.organs.values()]
    lowest = min((score for score in scores if score is not None), default=0.0)
    start = min(max(math.floor(lowest * 10) / 10, 0.0), 0.5)
    strips = [_strip(organ, colour, rows, start) for organ, colour in colours.items()]
    step = 0.1 if start >= 0.4 else 0.2
    ticks = [round(1 - step * index, 1) for index in range(round((1 - start) / step + 0.5))]
    ticks += [start] if start < min(ticks) else []
    return Spread(strips, [(_percent(tick, start), f"{tick:.1f}") for tick in sorted(set(ticks))])


def _strip(organ: str, colour: str, rows: Sequence[CaseRow], start: float) -> Strip:
    dots, scores = [], []
    for row in rows:
        entry = row.organs[organ]
        if entry["dsc"] is None:
            continue
        scores.append(float(entry["dsc"]))
        shift = zlib.crc32(row.case_id.encode()) % 1000 / 1000 - 0.5
        status = entry["status"]
        note = f"{row.case_id}: {entry['dsc']:.3f}"
        note += "" if status == "scored" else f", {status.replace('_', ' ')}"
        dots.append(Dot(_percent(entry["dsc"], start), 50 + 52 * shift, note, status))
    return Strip(organ, colour, dots, _box(scores, start))


def _box(scores: Sequence[float], start: float) -> tuple[float, float, float] | None:
    if len(scores) < 4:  # too few for quartiles to say anything
        return None
    low, middle, high = statistics.quantiles(scores, n=4, method="inclusive")
    return _percent(low, start), _percent(middle, start), _percent(high, start)


def _percent(score: float, start: float) -> float:
    return round(100 * (score - start) / (1 - start), 2)
