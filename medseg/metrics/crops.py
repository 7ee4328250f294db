"""One organ cut out of two label maps, in the order in which they lie in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from medseg.metrics.boxes import Box, bounding_boxes
from medseg.metrics.masks import check_masks, check_spacing

Status = Literal["scored", "missed", "false_positive", "absent"]
SLAB_VOXELS = 2**19  # what stays in a processor's cache while it is looked at from all sides


@dataclass(frozen=True)
class Grid:
    """Spacing of the voxels along the axes of the crops.

    Attributes:
        spacing: In mm, in the order of the crops' axes.
        reversed_axes: Whether that is the reverse of the order of the arrays that were given.
    """

    spacing: tuple[float, ...]
    reversed_axes: bool = False

    def lengths(self, steps: np.ndarray) -> np.ndarray:
        """Length in mm of steps of whole voxels, shape (axes, N) in and (N,) out.

        Squares are added in the order of the axes that were given, as SciPy's distance
        transform adds them, so that a distance that equals a tolerance does so in both.
        """
        squares = [(step * length) ** 2 for step, length in zip(steps, self.spacing, strict=True)]
        total = np.zeros(steps.shape[1])
        for square in squares[::-1] if self.reversed_axes else squares:
            total += square
        return np.sqrt(total)


@dataclass(frozen=True)
class Crop:
    """A mask cut to the box that holds it, or to a larger one.

    Attributes:
        mask: bool, contiguous; empty if the organ is not there.
        origin: Index of its first voxel in the volume.
    """

    mask: np.ndarray
    origin: tuple[int, ...]

    @property
    def box(self) -> Box:
        """Where it lies in the volume."""
        return tuple(slice(a, a + n) for a, n in zip(self.origin, self.mask.shape, strict=True))

    def slabs(self) -> Iterator[tuple[int, np.ndarray]]:
        """The mask in thick slabs, each with what is around it.

        Yields:
            Index in the mask of the first slice of a slab, and the slab, bool: one voxel larger
            than its part of the mask at both ends of every axis. Along the first axis the
            neighbouring slices of the mask are there, everywhere else background.
        """
        count, *plane = self.mask.shape
        around = [size + 2 for size in plane]
        inside = tuple(slice(1, 1 + size) for size in plane)
        thick = max(1, SLAB_VOXELS // max(1, int(np.prod(around))))
        for first in range(0, count, thick):
            last = min(first + thick, count)
            slab = np.zeros((last - first + 2, *around), dtype=bool)
            low, high = max(0, first - 1), min(count, last + 1)
            start = low - (first - 1)
            place = (slice(start, start + high - low), *inside)
            slab[place] = self.mask[low:high]
            yield first, slab


@dataclass(frozen=True)
class Pair:
    """One organ in prediction and reference."""

    pred: Crop
    label: Crop
    grid: Grid

    @property
    def status(self) -> Status:
        """In which of the two the organ is."""
        if self.pred.mask.size:
            return "scored" if self.label.mask.size else "false_positive"
        return "missed" if self.label.mask.size else "absent"


def crop(label_map: np.ndarray, box: Box | None, values: Sequence[int]) -> Crop:
    """The voxels in ``box`` that have one of the values; ``None`` stands for no voxel."""
    if box is None:
        return Crop(np.zeros((0,) * label_map.ndim, dtype=bool), (0,) * label_map.ndim)
    part = label_map[box]
    mask = np.empty(part.shape, dtype=bool)
    np.equal(part, values[0], out=mask)
    for value in values[1:]:
        mask |= part == value
    return Crop(mask, tuple(side.start for side in box))


def pair_of_masks(pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> Pair:
    """Two checked masks as a pair of crops.

    Raises:
        ValueError: If the masks or the spacing do not fit together.
    """
    check_masks(pred, label)
    check_spacing(pred.shape, spacing)
    pred, label, grid = in_memory_order(pred, label, spacing)
    found, truth = (crop(mask, bounding_boxes(mask).get(1), (1,)) for mask in (pred, label))
    return Pair(found, truth, grid)


def in_memory_order(
    pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """The same arrays with the axis last that is contiguous, which NIfTI has first."""
    spacing = tuple(float(length) for length in spacing)
    if pred.flags.f_contiguous and not pred.flags.c_contiguous:
        return pred.T, label.T, Grid(spacing[::-1], reversed_axes=True)
    return pred, label, Grid(spacing)


def join(boxes: Sequence[Box | None]) -> Box | None:
    """The smallest box around all; ``None`` if there is none."""
    there = [box for box in boxes if box is not None]
    if not there:
        return None
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*there, strict=True)
    )


def count_both(one: Crop, other: Crop) -> int:
    """How many voxels are in both masks."""
    shared = [
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(one.box, other.box, strict=True)
    ]
    if any(side.start >= side.stop for side in shared):
        return 0
    parts = (
        part.mask[tuple(
            slice(side.start - first, side.stop - first)
            for side, first in zip(shared, part.origin, strict=True)
        )]
        for part in (one, other)
    )  # fmt: skip
    return int(sum(np.count_nonzero(a & b) for a, b in zip(*parts, strict=True)))


@lru_cache(maxsize=32)  # every organ of a case asks for the same
def ball(grid: Grid, radius_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """All steps of whole voxels up to a length, in order of length.

    Returns:
        Steps, shape (axes, K), and their lengths in mm, shape (K,).
    """
    reach = [int(radius_mm / length + 1e-9) for length in grid.spacing]
    steps = np.indices([2 * far + 1 for far in reach]).reshape(len(reach), -1)
    steps -= np.reshape(reach, (-1, 1))
    lengths = grid.lengths(steps)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= radius_mm]
    return steps[:, order], lengths[order]
