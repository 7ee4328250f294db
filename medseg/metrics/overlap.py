"""Overlap of two segmentation masks."""

import numpy as np

from medseg.metrics.masks import check_masks

NAN = float("nan")


def dsc(pred: np.ndarray, label: np.ndarray) -> float:
    """Dice similarity coefficient (DSC) of one organ in one case, 2 |A ∩ B| / (|A| + |B|).

    Args:
        pred: Predicted mask of one organ, bool, any shape.
        label: Reference mask of the same organ, bool, same shape.

    Returns:
        Between 0 and 1: 0 if only one mask is empty (the organ was missed or invented), and
        ``nan`` if both are (nothing to measure).

    Raises:
        ValueError: If shapes or dtypes do not fit together.

    Source:
        Dice, Ecology 26 (1945) 297. The empty cases follow nnU-Net; MedPy says 1 where both
        masks are empty, TransUNet's code 1 where only the reference is.
    """
    return dsc_of(*_counts(pred, label))


def iou(pred: np.ndarray, label: np.ndarray) -> float:
    """Intersection over union (IoU, Jaccard index) of one organ, |A ∩ B| / |A ∪ B|.

    Args:
        pred: Predicted mask of one organ, bool, any shape.
        label: Reference mask of the same organ, bool, same shape.

    Returns:
        Between 0 and 1: 0 if only one mask is empty, ``nan`` if both are (MedPy says 1).

    Raises:
        ValueError: If shapes or dtypes do not fit together.

    Source:
        Jaccard, New Phytologist 11 (1912) 37; ``medpy.metric.binary.jc``.
    """
    return iou_of(*_counts(pred, label))


def precision(pred: np.ndarray, label: np.ndarray) -> float:
    """Share of the predicted voxels that are right, |A ∩ B| / |A|.

    Args:
        pred: Predicted mask A of one organ, bool, any shape.
        label: Reference mask B of the same organ, bool, same shape.

    Returns:
        Between 0 and 1: 0 if only one mask is empty (so that leaving an organ out earns
        nothing), ``nan`` if both are (MedPy says 0).

    Raises:
        ValueError: If shapes or dtypes do not fit together.

    Source:
        ``medpy.metric.binary.precision``; the positive predictive value.
    """
    return precision_of(*_counts(pred, label))


def recall(pred: np.ndarray, label: np.ndarray) -> float:
    """Share of the organ's voxels that were found, |A ∩ B| / |B|.

    Args:
        pred: Predicted mask A of one organ, bool, any shape.
        label: Reference mask B of the same organ, bool, same shape.

    Returns:
        Between 0 and 1: 0 if only one mask is empty, ``nan`` if both are (MedPy says 0).

    Raises:
        ValueError: If shapes or dtypes do not fit together.

    Source:
        ``medpy.metric.binary.recall``; sensitivity, the true positive rate.
    """
    return recall_of(*_counts(pred, label))


def dsc_of(n_pred: int, n_label: int, n_both: int) -> float:
    """DSC from numbers of voxels."""
    return 2.0 * n_both / (n_pred + n_label) if n_pred + n_label else NAN


def iou_of(n_pred: int, n_label: int, n_both: int) -> float:
    """IoU from numbers of voxels."""
    return n_both / (n_pred + n_label - n_both) if n_pred + n_label else NAN


def precision_of(n_pred: int, n_label: int, n_both: int) -> float:
    """Precision from numbers of voxels."""
    return n_both / max(n_pred, 1) if n_pred + n_label else NAN


def recall_of(n_pred: int, n_label: int, n_both: int) -> float:
    """Recall from numbers of voxels."""
    return n_both / max(n_label, 1) if n_pred + n_label else NAN


def _counts(pred: np.ndarray, label: np.ndarray) -> tuple[int, int, int]:
    check_masks(pred, label)
    both = int(np.count_nonzero(pred & label))
    return int(np.count_nonzero(pred)), int(np.count_nonzero(label)), both
