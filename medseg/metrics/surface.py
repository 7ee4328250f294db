"""Distances between the surfaces of two segmentation masks."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from medseg.metrics.crops import Crop, Pair, pair_of_masks
from medseg.metrics.distances import nearest_mm

Convention = Literal["pooled", "directed"]
Distances = tuple[np.ndarray, np.ndarray]


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
    return _of_masks(pred, label, spacing, lambda both: percentile_95(*both, convention))


def hd(pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> float:
    """Hausdorff distance of one organ in one case, in mm: the largest surface distance.

    Args:
        pred: Predicted mask of one organ, bool, shape (H, W) or (D, H, W).
        label: Reference mask of the same organ, bool, same shape.
        spacing: Distance between voxel centres along each array axis, in mm.

    Returns:
        The distance in mm; ``nan`` if both masks are empty and ``inf`` if only one is.

    Raises:
        ValueError: If shapes, dtype or the length of ``spacing`` do not fit together.

    Source:
        ``medpy.metric.binary.hd``; Huttenlocher et al., IEEE PAMI 15 (1993) 850.
    """
    return _of_masks(pred, label, spacing, largest)


def assd(pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> float:
    """Average symmetric surface distance (ASSD) of one organ in one case, in mm.

    The mean over all surface voxels of both masks of the distance to the other surface, as
    MedPy 0.5.2 and MONAI take it. (The mean of the two directed means, as older MedPy took it,
    differs where the surfaces differ in size.)

    Args:
        pred: Predicted mask of one organ, bool, shape (H, W) or (D, H, W).
        label: Reference mask of the same organ, bool, same shape.
        spacing: Distance between voxel centres along each array axis, in mm.

    Returns:
        The distance in mm; ``nan`` if both masks are empty and ``inf`` if only one is.

    Raises:
        ValueError: If shapes, dtype or the length of ``spacing`` do not fit together.

    Source:
        ``medpy.metric.binary.assd``; ``monai.metrics.SurfaceDistanceMetric(symmetric=True)``.
    """
    return _of_masks(pred, label, spacing, mean_of_both)


def surface_distances(pair: Pair) -> Distances:
    """Distance in mm from each surface voxel of one mask to the nearest of the other.

    Neither mask may be empty.

    Returns:
        From the prediction to the label and from the label to the prediction, each of shape
        (surface voxels,).
    """
    pred, label = surface_voxels(pair.pred), surface_voxels(pair.label)
    return nearest_mm(pred, label, pair.grid), nearest_mm(label, pred, pair.grid)


def percentile_95(
    pred_to_label: np.ndarray, label_to_pred: np.ndarray, convention: Convention
) -> float:
    """HD95 in mm from the two sets of distances of :func:`surface_distances`."""
    if convention == "pooled":
        return float(np.percentile(np.concatenate([pred_to_label, label_to_pred]), 95))
    return max(float(np.percentile(part, 95)) for part in (pred_to_label, label_to_pred))


def largest(distances: Distances) -> float:
    """HD in mm from the two sets of distances."""
    return max(float(part.max()) for part in distances)


def mean_of_both(distances: Distances) -> float:
    """ASSD in mm from the two sets of distances."""
    return float(np.concatenate(distances).mean())


def surface_voxels(crop: Crop) -> np.ndarray:
    """Voxels of a mask with a face neighbour outside it; beyond the array is outside.

    Returns:
        Their indices in the volume, shape (axes, N).
    """
    found = []
    for first, slab in crop.slabs():
        flat = slab.reshape(-1)
        widest = slab.strides[0]
        own = flat[widest:-widest]
        inner = own.copy()
        for stride in slab.strides:  # a neighbour in the slab is a neighbour in the flat array
            inner &= flat[widest - stride : flat.size - widest - stride]
            inner &= flat[widest + stride : flat.size - widest + stride]
        places = np.flatnonzero(own > inner) + widest
        index = np.stack(np.unravel_index(places, slab.shape))
        index += np.reshape([first, *([0] * (slab.ndim - 1))], (-1, 1)) - 1
        found.append(index)
    voxels: np.ndarray = np.concatenate(found, axis=1) + np.reshape(crop.origin, (-1, 1))
    return voxels


def _of_masks(
    pred: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    figure: Callable[[Distances], float],
) -> float:
    pair = pair_of_masks(pred, label, spacing)
    if pair.status != "scored":
        return float("nan") if pair.status == "absent" else float("inf")
    return figure(surface_distances(pair))
