"""Overlap of the rims of two masks, which large organs cannot hide behind their volume."""

from collections.abc import Sequence

import numpy as np

from medseg.metrics.crops import Crop, Grid, Pair, ball, count_both, pair_of_masks
from medseg.metrics.overlap import iou_of
from medseg.metrics.surface import surface_voxels

WIDTH_MM = 2.0


def boundary_iou(
    pred: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    width_mm: float = WIDTH_MM,
) -> float:
    """IoU of the parts of two masks that lie along their own boundaries.

    The rim of a mask is those of its voxels that lie no farther than ``width_mm`` from one of
    its surface voxels (those with a face neighbour outside). The original measures in pixels
    of photographs, 2 % of the diagonal; in body scans that is thicker than most organs, so the
    width is a length here.

    Args:
        pred: Predicted mask of one organ, bool, shape (H, W) or (D, H, W).
        label: Reference mask of the same organ, bool, same shape.
        spacing: Distance between voxel centres along each array axis, in mm.
        width_mm: Depth of the rim in mm; 0 is the surface voxels alone.

    Returns:
        Between 0 and 1: 0 if only one mask is empty, ``nan`` if both are.

    Raises:
        ValueError: If shapes, dtype or the length of ``spacing`` do not fit together, or the
            width is no length.

    Source:
        Cheng et al., Boundary IoU, CVPR 2021, arXiv:2103.16562.
    """
    if not np.isfinite(width_mm) or width_mm < 0:
        raise ValueError(f"width_mm must be a length in mm, 0 or more, got {width_mm}")
    pair = pair_of_masks(pred, label, spacing)
    if pair.status != "scored":
        return float("nan") if pair.status == "absent" else 0.0
    return boundary_iou_of(pair, width_mm)


def boundary_iou_of(pair: Pair, width_mm: float = WIDTH_MM) -> float:
    """Boundary IoU of a pair neither of which is empty."""
    rims = [_rim(crop, pair.grid, width_mm) for crop in (pair.pred, pair.label)]
    sizes = [int(np.count_nonzero(rim.mask)) for rim in rims]
    return iou_of(sizes[0], sizes[1], count_both(*rims))


def _rim(crop: Crop, grid: Grid, width_mm: float) -> Crop:
    steps, _ = ball(grid, width_mm)
    surface = surface_voxels(crop) - np.reshape(crop.origin, (-1, 1))
    reach = steps.max(axis=1)
    shape = tuple(size + 2 * far for size, far in zip(crop.mask.shape, reach.tolist(), strict=True))
    near = np.zeros(shape, dtype=bool)
    strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1)
    flat, places = near.reshape(-1), strides @ (surface + reach[:, None])
    for step in (strides @ steps).tolist():
        flat[places + step] = True
    inside = tuple(slice(far, far + size) for far, size in zip(reach, crop.mask.shape, strict=True))
    return Crop(near[inside] & crop.mask, crop.origin)
