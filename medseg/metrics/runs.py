"""A mask as runs of voxels along its last axis: small, and quick to compare and connect."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medseg.metrics.crops import Crop, Pair


@dataclass(frozen=True)
class Runs:
    """Runs of a mask in the frame of a pair, the box around both masks with a voxel to spare.

    Attributes:
        start: Flat index in the frame of the first voxel of each run, ascending; shape (N,).
        stop: One past its last voxel.
        shape: Of the frame.
    """

    start: np.ndarray
    stop: np.ndarray
    shape: tuple[int, ...]

    @property
    def lengths(self) -> np.ndarray:
        """Voxels of each run."""
        lengths: np.ndarray = self.stop - self.start
        return lengths


def runs_of(pair: Pair) -> tuple[Runs, Runs]:
    """Runs of the prediction and of the label, in one frame."""
    there = [crop for crop in (pair.pred, pair.label) if crop.mask.size]
    axes = range(len(pair.grid.spacing))
    low = [min((crop.box[axis].start for crop in there), default=0) - 1 for axis in axes]
    high = [max((crop.box[axis].stop for crop in there), default=0) + 1 for axis in axes]
    shape = tuple(stop - start for start, stop in zip(low, high, strict=True))
    pred, label = (_runs(crop, low, shape) for crop in (pair.pred, pair.label))
    return pred, label


def overlaps(
    one: Runs, other: Runs, shift: int = 0, grow: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which runs share voxels once those of ``other`` are moved and lengthened at both ends.

    Returns:
        Places of the runs in ``one`` and in ``other``, and how many voxels they share, each of
        shape (number of pairs,).
    """
    start, stop = other.start + shift - grow, other.stop + shift + grow
    first = np.searchsorted(stop, one.start, side="right")
    counts = np.maximum(np.searchsorted(start, one.stop, side="left") - first, 0)
    mine = np.repeat(np.arange(len(one.start)), counts)
    ends = np.cumsum(counts)
    theirs = np.arange(len(mine)) - np.repeat(ends - counts - first, counts)
    shared = np.minimum(one.stop[mine], stop[theirs]) - np.maximum(one.start[mine], start[theirs])
    return mine, theirs, shared


def components(runs: Runs) -> tuple[int, np.ndarray]:
    """How many pieces the mask has, voxels that share a corner connected, and each run's piece."""
    edges = []
    strides = np.append(np.cumprod(runs.shape[:0:-1])[::-1], 1)[:-1]
    for rows in itertools.product((-1, 0, 1), repeat=len(runs.shape) - 1):
        if rows < (0,) * len(rows):  # the rows before; those behind are the same pairs again
            edges.append(overlaps(runs, runs, -int(np.dot(rows, strides)), grow=1)[:2])
    count = len(runs.start)
    mine, theirs = (np.concatenate([np.zeros(0, int), *part]) for part in zip(*edges, strict=True))
    graph = coo_array((np.ones(len(mine), dtype=bool), (mine, theirs)), shape=(count, count))
    pieces, piece = connected_components(graph, directed=False)
    return int(pieces), piece


def _runs(crop: Crop, low: list[int], shape: tuple[int, ...]) -> Runs:
    ends = [np.zeros(0, dtype=np.int64)]
    offset = np.subtract(crop.origin, low)
    for first, slab in crop.slabs():
        flat = slab[1:-1].reshape(-1)
        places = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        index = list(np.unravel_index(places, (slab.shape[0] - 2, *slab.shape[1:])))
        index[0] = index[0] + first
        moved = [
            part + int(start) - (axis > 0)
            for axis, (part, start) in enumerate(zip(index, offset, strict=True))
        ]
        ends.append(np.ravel_multi_index(moved, shape))
    both = np.concatenate(ends)
    return Runs(both[::2], both[1::2], shape)
