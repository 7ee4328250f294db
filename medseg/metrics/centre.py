"""How far the middle of the prediction is from the middle of the organ."""

from collections.abc import Sequence

import numpy as np

from medseg.metrics.crops import Grid, pair_of_masks
from medseg.metrics.runs import Runs, runs_of


def centre_distance(pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> float:
    """Distance in mm between the centres of mass of two masks.

    Args:
        pred: Predicted mask of one organ, bool, shape (H, W) or (D, H, W).
        label: Reference mask of the same organ, bool, same shape.
        spacing: Distance between voxel centres along each array axis, in mm.

    Returns:
        The distance in mm; ``nan`` if both masks are empty and ``inf`` if only one is.

    Raises:
        ValueError: If shapes, dtype or the length of ``spacing`` do not fit together.

    Source:
        The centre distance of Metrics Reloaded, Maier-Hein, Reinke et al., Nature Methods 21
        (2024) 195.
    """
    pair = pair_of_masks(pred, label, spacing)
    if pair.status != "scored":
        return float("nan") if pair.status == "absent" else float("inf")
    return centre_distance_of(*runs_of(pair), pair.grid)


def centre_distance_of(pred: Runs, label: Runs, grid: Grid) -> float:
    """Centre distance from the runs of both masks, neither of which may be empty."""
    step = _centre(pred) - _centre(label)
    return float(grid.lengths(step[:, None])[0])


def _centre(runs: Runs) -> np.ndarray:
    places = np.array(np.unravel_index(runs.start, runs.shape), dtype=float)
    places[-1] += (runs.lengths - 1) / 2  # the middle of each run
    centre: np.ndarray = (places * runs.lengths).sum(axis=1) / runs.lengths.sum()
    return centre
