"""Outlines of a mask in one slice, as closed polygons that hold exactly its pixel centres.

The line runs half-way between the centres of neighbouring pixels inside and outside, so whoever
fills the polygon gets the mask back whichever way borders are counted. A hole is cut out by the
keyhole technique of DICOM PS3.3, C.8.8.6.3: the outer line runs along a channel of no width to the
hole, around it, and back. Channels run half-way between two rows, where no pixel centre lies.
"""

from collections.abc import Sequence

import numpy as np


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons around the parts of a mask, holes cut out through keyholes.

    Args:
        mask: Bool, shape (rows, columns).

    Returns:
        One polygon per connected part: float64, shape (points, 2), columns x = column index and
        y = row index, where whole numbers are pixel centres; not closed by a repeated first point.
        Points are given only where the line turns.
    """
    from contourpy import FillType, contour_generator

    part = np.pad(mask, 1).astype(float)
    generator = contour_generator(z=part, fill_type=FillType.OuterOffset)
    points, offsets = generator.filled(0.5, 2.0)
    polygons = [
        _with_keyholes(*(line[:-1] for line in np.split(lines, ends[1:-1])))
        for lines, ends in zip(points, offsets, strict=True)
    ]
    return [_without_needless(polygon) - 1 for polygon in polygons]


def _without_needless(polygon: np.ndarray) -> np.ndarray:
    """Leave out points said twice, and those where the line goes straight on."""
    polygon = polygon[(polygon != np.roll(polygon, 1, axis=0)).any(axis=1)]
    before, after = polygon - np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0) - polygon
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) < 0
    kept: np.ndarray = polygon[turns | back]
    return kept


def _with_keyholes(outer: np.ndarray, *holes: np.ndarray) -> np.ndarray:
    """One polygon out of an outer line and the holes in it, leftmost hole first."""
    for hole in sorted(holes, key=lambda line: float(line[:, 0].min())):
        outer = _joined(outer, hole)
    return outer


def _joined(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Cut from a hole straight to the left until the line around it is met."""
    start = _leftmost_between_rows(hole)
    x, y = hole[start]
    index, meeting = _first_to_the_left(outer, x, y)
    around = np.roll(hole, -start, axis=0)
    keyhole: Sequence[np.ndarray] = (meeting[None], around, around[:1], meeting[None])
    return np.concatenate([outer[: index + 1], *keyhole, outer[index + 1 :]])


def _leftmost_between_rows(hole: np.ndarray) -> int:
    """A point half-way between two rows; every hole has some, since it is a row high at least."""
    between = np.flatnonzero(hole[:, 1] % 1 == 0.5)
    return int(between[np.argmin(hole[between, 0])])


def _first_to_the_left(line: np.ndarray, x: float, y: float) -> tuple[int, np.ndarray]:
    """Where a ray from (x, y) to the left first meets a polygon: the edge's first point, the place.

    Edges that lie on the ray do not count: one of their neighbours meets it in the same point.
    """
    ends = np.roll(line, -1, axis=0)
    meets = (np.minimum(line[:, 1], ends[:, 1]) <= y) & (np.maximum(line[:, 1], ends[:, 1]) >= y)
    edges = np.flatnonzero(meets & (line[:, 1] != ends[:, 1]))
    part = (y - line[edges, 1]) / (ends[edges, 1] - line[edges, 1])
    places = line[edges, 0] + part * (ends[edges, 0] - line[edges, 0])
    nearest = np.argmax(np.where(places < x, places, -np.inf))
    return int(edges[nearest]), np.array([places[nearest], y])
