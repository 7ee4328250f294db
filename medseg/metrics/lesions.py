"""Lesions one by one: which were found, which were missed, which were invented."""

from dataclasses import dataclass

import numpy as np

from medseg.metrics.crops import pair_of_masks
from medseg.metrics.runs import Runs, components, overlaps, runs_of

MATCH_IOU = 0.5  # above a half, a lesion can have one partner only


@dataclass(frozen=True)
class Lesions:
    """What became of the lesions of one case.

    Attributes:
        found: Lesions of the reference that share at least one voxel with the prediction.
        missed: Lesions of the reference that share none.
        invented: Lesions of the prediction that share no voxel with the reference.
        panoptic_quality: Sum of the IoU of all pairs above 0.5 over (pairs + half of the
            predicted and half of the reference lesions left alone); ``nan`` without any lesion.
    """

    found: int
    missed: int
    invented: int
    panoptic_quality: float

    @property
    def f1(self) -> float:
        """2 found / (2 found + missed + invented); ``nan`` without any lesion."""
        total = 2 * self.found + self.missed + self.invented
        return 2 * self.found / total if total else float("nan")


def lesions(pred: np.ndarray, label: np.ndarray) -> Lesions:
    """Count lesions: connected components, where sharing a corner is being connected.

    In 3D a voxel has 26 neighbours, in 2D a pixel has 8. One shared voxel is a find, the most
    lenient of the rules in use and the one that needs no threshold; panoptic quality judges
    with the stricter IoU above 0.5, and weighs how well a lesion was drawn.

    Args:
        pred: Predicted mask, bool, shape (H, W) or (D, H, W).
        label: Reference mask, bool, same shape.

    Returns:
        The counts; all zero, and ``nan`` for F1 and panoptic quality, if both masks are empty.

    Raises:
        ValueError: If shapes or dtypes do not fit together.

    Source:
        Counts without a threshold as the false positive and negative volumes of autoPET
        (Gatidis et al., Nature Machine Intelligence 6 (2024) 1396); panoptic quality:
        Kirillov et al., CVPR 2019, arXiv:1801.00868.
    """
    return lesions_of(*runs_of(pair_of_masks(pred, label, (1.0,) * pred.ndim)))


def lesions_of(pred: Runs, label: Runs) -> Lesions:
    """Lesions from the runs of both masks."""
    (n_pred, pred_piece), (n_label, label_piece) = components(pred), components(label)
    pred_sizes = np.bincount(pred_piece, weights=pred.lengths, minlength=n_pred)
    label_sizes = np.bincount(label_piece, weights=label.lengths, minlength=n_label)
    mine, theirs, shared = overlaps(pred, label)
    pairs = pred_piece[mine].astype(np.int64) * max(n_label, 1) + label_piece[theirs]
    pairs, place = np.unique(pairs, return_inverse=True)
    both = np.bincount(place, weights=shared, minlength=len(pairs))
    first, second = pairs // max(n_label, 1), pairs % max(n_label, 1)
    iou = both / (pred_sizes[first] + label_sizes[second] - both)
    matched = iou[iou > MATCH_IOU]
    found = len(np.unique(second))
    total = (n_pred + n_label) / 2  # pairs count one half on either side
    quality = float(matched.sum()) / total if total else float("nan")
    return Lesions(found, n_label - found, n_pred - len(np.unique(first)), quality)
