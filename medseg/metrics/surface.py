"""Distances between the surfaces of two segmentation masks."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from scipy.spatial import cKDTree

from medseg.metrics.masks import check_masks, check_spacing

Convention = Literal["pooled", "directed"]


def hd95(
    pred: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    convention: Convention = "pooled",
) -> float:
    """95th-percentile Hausdorff distance (HD95) of one organ in one case, in mm.

    Two conventions are in use, and their figures must not share a table. ``"pooled"`` takes one
    percentile of both sets of distances together (prediction to label, label to prediction), as
    the published Synapse tables do through MedPy; ``"directed"`` takes the larger of the two
    directed percentiles, as MONAI does. Far false positives weigh more in the second.

    Args:
        pred: Predicted mask of one organ, bool, shape (H, W) or (D, H, W).
        label: Reference mask of the same organ, bool, same shape.
        spacing: Distance between voxel centres along each array axis, in mm.
        convention: ``"pooled"`` or ``"directed"``.

    Returns:
        The distance in mm. ``nan`` if both masks are empty (nothing to measure) and
        ``inf`` if only one is (the organ was missed or invented).

    Raises:
        ValueError: If shapes, dtype or the length of ``spacing`` do not fit together, or the
            convention is unknown.

    Source:
        ``medpy.metric.binary.hd95``, called by ``utils.py`` of Beckschen/TransUNet without
        ``voxelspacing``: pass ``(1, 1, 1)`` to compare with its table, in voxels.
        ``monai.metrics.HausdorffDistanceMetric(percentile=95)`` for ``"directed"``.
    """
    if convention not in get_args(Convention):
        raise ValueError(f"convention must be one of {get_args(Convention)}, got {convention!r}")
    check_masks(pred, label)
    check_spacing(pred.shape, spacing)
    if not pred.any() and not label.any():
        return float("nan")
    if not pred.any() or not label.any():
        return float("inf")
    return percentile_95(*surface_distances(pred, label, spacing), convention)


def surface_distances(
    pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm from each surface voxel of one mask to the nearest of the other.

    Neither mask may be empty. Masks may be cropped to the box that holds both beforehand: what
    lies beyond the array counts as outside the organ, so the distances stay the same.

    Returns:
        From the prediction to the label and from the label to the prediction, each of shape
        (surface voxels,), in no particular order.
    """
    pred_surface, label_surface = _surface(pred), _surface(label)
    return (
        _distances(pred_surface, label_surface, spacing),
        _distances(label_surface, pred_surface, spacing),
    )


def percentile_95(
    pred_to_label: np.ndarray, label_to_pred: np.ndarray, convention: Convention
) -> float:
    """HD95 in mm from the two sets of distances of :func:`surface_distances`."""
    if convention == "pooled":
        return float(np.percentile(np.concatenate([pred_to_label, label_to_pred]), 95))
    return max(float(np.percentile(part, 95)) for part in (pred_to_label, label_to_pred))


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of ``mask`` with a face neighbour outside it; beyond the array is outside."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        inside, along = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= along[:-1]
        inside[:-1] &= along[1:]
        inside[0] = inside[-1] = False
    surface: np.ndarray = mask & ~inner
    return surface


def _distances(start: np.ndarray, goal: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm from every voxel of ``start`` to the nearest voxel of ``goal``."""
    distances = np.zeros(np.count_nonzero(start))
    away = np.argwhere(start & ~goal)  # the rest lies on ``goal``, at distance zero
    if len(away):
        goal_voxels = np.argwhere(goal)
        tree = cKDTree(goal_voxels * np.asarray(spacing), balanced_tree=False, compact_nodes=False)
        _, nearest = tree.query(away * np.asarray(spacing))
        steps = away - goal_voxels[nearest]  # whole voxels: free of the rounding of positions
        distances[: len(away)] = np.linalg.norm(steps * np.asarray(spacing), axis=1)
    return distances
