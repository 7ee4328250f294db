"""Smooth random fields: cubic B-splines over a coarse lattice of random coefficients."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets._phantom.types import Array


@dataclass(frozen=True)
class Field:
    """A scalar field over a box in space, smooth at the scale of its nodes.

    Attributes:
        coefficients: Random values at the nodes, float32, axes (z, y, x).
        start: Position of node 1 along (z, y, x), in mm; nodes 0 and the last lie outside.
        step: Distance between nodes, in mm.
    """

    coefficients: Array
    start: tuple[float, float, float]
    step: float

    def on(self, z: Array, y: Array, x: Array) -> Array:
        """The field on the lattice of the three sorted coordinate lists, shape (Z, Y, X)."""
        values = self.coefficients
        for axis, positions in enumerate((z, y, x)):
            values = _interpolate(values, positions, self.start[axis], self.step, axis)
        return values


def draw_field(
    rng: np.random.Generator,
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    *,
    step: float,
) -> Field:
    """Draw a field of mean 0 and standard deviation near 1 over a box.

    Args:
        rng: Where the coefficients come from.
        low: Lower corner of the box along (z, y, x), in mm.
        high: Upper corner.
        step: Distance between nodes, in mm: the field is smooth at this scale.
    """
    counts = [int(np.ceil((b - a) / step)) + 4 for a, b in zip(low, high, strict=True)]
    coefficients = rng.standard_normal(counts, dtype=np.float32)
    variance_kept = 0.48**3  # mean over a cell of the sum of squared cubic B-spline weights
    return Field(coefficients / np.float32(np.sqrt(variance_kept)), low, step)


def _interpolate(values: Array, positions: Array, start: float, step: float, axis: int) -> Array:
    place = (positions - start) / step
    node = np.clip(np.floor(place).astype(np.intp), 0, values.shape[axis] - 4)
    t = np.clip(place - node, 0.0, 1.0)
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    shape = [1, 1, 1]
    shape[axis] = -1
    total = np.zeros(1, np.float32)
    for tap, weight in enumerate(weights):
        scaled = (weight / 6).astype(np.float32).reshape(shape)
        total = total + scaled * values.take(node + tap, axis)
    return total
