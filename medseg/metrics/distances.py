"""From each of a set of voxels to the nearest of another set, exactly."""

import numpy as np
from scipy.spatial import cKDTree

from medseg.metrics.crops import Grid, ball

REACH = 5  # shortest voxel sides that are searched step by step; what is farther is left to a tree
FEW = 8  # so many voxels are quicker in the tree than step by step


def nearest_mm(start: np.ndarray, goal: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance in mm from each voxel of ``start`` to the nearest of ``goal``.

    The goal is painted into a small array, and every step of whole voxels is tried from all
    starts at once, the shortest first; whoever has arrived drops out. Two surfaces of one organ
    lie close together, so that nearly all do. A KD-tree answers for the rest.

    Args:
        start: Indices of voxels, shape (axes, N).
        goal: Indices of voxels, shape (axes, M), M > 0.
        grid: Spacing along the axes.

    Returns:
        Shape (N,), in the order of ``start``.
    """
    distances = np.empty(start.shape[1])
    left = _step_by_step(start, goal, grid, distances)
    if len(left):
        lengths = np.asarray(grid.spacing)
        tree = cKDTree(goal.T * lengths, balanced_tree=False, compact_nodes=False)
        _, nearest = tree.query(start[:, left].T * lengths)
        steps = start[:, left] - goal[:, nearest]  # whole voxels: free of rounded positions
        distances[left] = grid.lengths(steps)
    return distances


def _step_by_step(
    start: np.ndarray, goal: np.ndarray, grid: Grid, distances: np.ndarray
) -> np.ndarray:
    """Fill in the distances within reach; return the places in ``start`` of all others."""
    everyone = np.arange(start.shape[1])
    if len(everyone) <= FEW:
        return everyone
    steps, lengths = ball(grid, REACH * min(grid.spacing))
    reach = steps.max(axis=1)
    low = np.maximum(start.min(axis=1), goal.min(axis=1) - reach)
    high = np.minimum(start.max(axis=1), goal.max(axis=1) + reach)
    if (low > high).any():
        return everyone
    inside = _within(start, low, high)
    order, far = np.flatnonzero(inside), np.flatnonzero(~inside)
    painted_goal = goal[:, _within(goal, low - reach, high + reach)]
    low, shape = low - reach, high - low + 1 + 2 * reach
    strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1)
    painted = np.zeros(int(np.prod(shape)), dtype=bool)
    painted[strides @ (painted_goal - low[:, None])] = True
    flat = strides @ (start[:, order] - low[:, None])
    for step, length in zip((strides @ steps).tolist(), lengths.tolist(), strict=True):
        arrived = painted.take(flat + step)
        if arrived.any():
            distances[order[arrived]] = length
            order, flat = order[~arrived], flat[~arrived]
            if not len(order):
                break
    return np.concatenate([order, far])


def _within(voxels: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    inside = np.ones(voxels.shape[1], dtype=bool)
    for index, lowest, highest in zip(voxels, low.tolist(), high.tolist(), strict=True):
        inside &= (index >= lowest) & (index <= highest)
    return inside
