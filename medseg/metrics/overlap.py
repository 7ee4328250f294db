"""Overlap of two segmentation masks."""

import numpy as np

from medseg.metrics.masks import check_masks


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
    check_masks(pred, label)
    total = int(np.count_nonzero(pred) + np.count_nonzero(label))
    return 2.0 * int(np.count_nonzero(pred & label)) / total if total else float("nan")
