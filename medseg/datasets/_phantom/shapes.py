"""Shapes by their signed distance in mm: negative inside, exact near the surface."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from medseg.datasets._phantom.canvas import Canvas
from medseg.datasets._phantom.types import Array, Point

FAR = np.float32(1e3)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid.

    Attributes:
        centre: (x, y, z), mm.
        radii: Half axes along its own axes, mm.
        axes: Its own axes as rows of a rotation matrix, shape (3, 3).
    """

    centre: Point
    radii: Point
    axes: Array

    def distance(self, canvas: Canvas) -> Array:
        """Distance to the surface, of first order: exact at the surface, shape of ``canvas``."""
        x, y, z = (p - np.float32(c) for p, c in zip(_places(canvas), self.centre, strict=True))
        squared: Array = np.zeros(1, np.float32)
        steep: Array = np.zeros(1, np.float32)
        for axis, radius in zip(self.axes.astype(np.float32), self.radii, strict=True):
            along = (axis[0] * x + axis[1] * y + axis[2] * z) / np.float32(radius)
            squared = squared + along**2
            steep = steep + (along / np.float32(radius)) ** 2
        relative: Array = np.sqrt(squared)
        slope: Array = np.sqrt(steep + np.float32(1e-9))
        distance: Array = relative * (relative - 1) / slope
        return distance

    def box(self, margin: float) -> tuple[Point, Point]:
        """The box it lies in, widened by ``margin`` mm."""
        reach = np.sqrt(((self.axes * np.array(self.radii)[:, None]) ** 2).sum(axis=0)) + margin
        return _box(np.array([self.centre]), reach)


@dataclass(frozen=True)
class Tube:
    """A chain of cones with round ends: vessels, gut, pancreas, gallbladder.

    Attributes:
        points: Centre line, shape (N, 3), mm.
        radii: Radius at each point, shape (N,), mm.
        flat: Height over width: below 1 the tube is squeezed from front to back.
    """

    points: Array
    radii: Array
    flat: float = 1.0

    def distance(self, canvas: Canvas, reach: float = 15.0) -> Array:
        """Distance to the surface up to ``reach`` mm, large beyond; shape of ``canvas``."""
        result = np.full(canvas.x.shape, FAR, np.float32)
        for index in range(len(self.points) - 1):
            ends, radii = self.points[index : index + 2], self.radii[index : index + 2]
            window = canvas.window(*_box(ends, np.full(3, radii.max() + reach)))
            if window is not None:
                part = result[window]
                np.minimum(part, self._cone(canvas.at(window), ends, radii), out=part)
        return result

    def box(self, margin: float) -> tuple[Point, Point]:
        """The box it lies in, widened by ``margin`` mm."""
        return _box(self.points, np.full(3, self.radii.max() + margin))

    def _cone(self, canvas: Canvas, ends: Array, radii: Array) -> Array:
        start = ends[0].astype(np.float32)
        line = (ends[1] - ends[0]).astype(np.float32)
        x, y, z = (p - s for p, s in zip(_places(canvas), start, strict=True))
        length = max(float(line @ line), 1e-6)
        along = (line[0] * x + line[1] * y + line[2] * z) / np.float32(length)
        np.clip(along, 0, 1, out=along)
        across = (y - along * line[1]) / np.float32(self.flat)
        off = (x - along * line[0]) ** 2 + across**2 + (z - along * line[2]) ** 2
        radius: Array = np.float32(radii[0]) + along * np.float32(radii[1] - radii[0])
        distance: Array = np.sqrt(off) - radius
        return distance


Shape = Ellipsoid | Tube


def tube(
    stations: Sequence[Sequence[float]] | Array, *, step: float = 12.0, flat: float = 1.0
) -> Tube:
    """A tube along a smooth line through stations (x, y, z, radius), in mm."""
    given = np.asarray(stations, dtype=float)
    lengths = np.linalg.norm(np.diff(given[:, :3], axis=0), axis=1)
    place = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(int(np.ceil(place[-1] / step)), 1) + 1
    kind = CubicSpline(place, given) if len(given) > 2 else None
    at = np.linspace(0, place[-1], count)
    line = given if kind is None else kind(at)
    return Tube(line[:, :3], np.maximum(line[:, 3], 1.0), flat)


def smooth_union(one: Array, other: Array, width: float) -> Array:
    """Both shapes, blended where they meet over ``width`` mm."""
    blend = np.maximum(np.float32(width) - np.abs(one - other), 0) / np.float32(width)
    nearer: Array = np.minimum(one, other)
    blended: Array = nearer - blend**2 * np.float32(width / 4)
    return blended


def smooth_cut(one: Array, other: Array, width: float) -> Array:
    """What lies in both shapes, the new edges rounded over ``width`` mm."""
    return -smooth_union(-one, -other, width)


def tilted(about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> Array:
    """Axes of a shape turned by the three angles, in degrees, one after the other."""
    rotation = np.eye(3)
    for axis, degrees in enumerate((about_x, about_y, about_z)):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        one, two = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = c
        turn[one, two], turn[two, one] = s, -s
        rotation = rotation @ turn
    return rotation


def _places(canvas: Canvas) -> tuple[Array, Array, Array]:
    return canvas.x, canvas.y, canvas.z


def _box(points: Array, reach: Array) -> tuple[Point, Point]:
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
