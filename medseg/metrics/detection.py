"""How many pixels of a rare class are found at a given rate of false alarms."""

import numpy as np


def tpr_at_fpr(
    scores: np.ndarray,
    label: np.ndarray,
    fpr: float,
    *,
    ignore: np.ndarray | None = None,
    ignored_count_as_negative: bool = False,
) -> float:
    """Largest true-positive rate (TPR) whose false-positive rate (FPR) is at most ``fpr``.

    Every score is tried as a threshold, and what scores at least as much counts as found; scores
    that are equal are found together or not at all. So the result is the highest TPR among the
    points of the exact ROC curve at or left of ``fpr``, without interpolation between them.

    Args:
        scores: Higher means more likely of the class, any shape; infinities are allowed.
        label: Truth, bool, same shape.
        fpr: Largest false-positive rate, 0 to 1; the DeCAM study takes 1e-4 (0.01 %).
        ignore: Pixels that are left out, bool, same shape.
        ignored_count_as_negative: Count the ignored pixels as true negatives at every threshold,
            whatever they score. More negatives forgive more false alarms, so figures of the two
            conventions must not share a table.

    Returns:
        Between 0 and 1; ``nan`` without any positive or any negative pixel.

    Raises:
        ValueError: If shapes, dtypes or ``fpr`` do not fit, or a score is NaN.
    """
    check_scores(scores, label, ignore)
    check_rate(fpr)
    ignored = 0
    if ignore is not None:
        ignored = int(np.count_nonzero(ignore)) if ignored_count_as_negative else 0
        scores, label = scores[~ignore], label[~ignore]
    order = np.argsort(scores, axis=None)[::-1]
    ranked, hits = scores.ravel()[order], label.ravel()[order]
    positives = int(np.count_nonzero(hits))
    negatives = hits.size - positives + ignored
    if not positives or not negatives:
        return float("nan")
    last_of_its_score = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), hits.size - 1)
    true = np.cumsum(hits)[last_of_its_score]
    false = last_of_its_score + 1 - true
    allowed = true[false / negatives <= fpr]
    return float(allowed[-1] / positives) if allowed.size else 0.0


def check_scores(scores: np.ndarray, label: np.ndarray, ignore: np.ndarray | None) -> None:
    """Refuse scores, truth and ignored pixels that do not fit together.

    Raises:
        ValueError: Naming what was given.
    """
    if label.dtype != bool or (ignore is not None and ignore.dtype != bool):
        others = "" if ignore is None else f" and ignore {ignore.dtype}"
        raise ValueError(f"label and ignore must be bool, got label {label.dtype}{others}")
    if scores.shape != label.shape or (ignore is not None and ignore.shape != label.shape):
        others = "" if ignore is None else f" and ignore {ignore.shape}"
        raise ValueError(
            f"scores, label and ignore must have one shape, got scores {scores.shape}, "
            f"label {label.shape}{others}"
        )
    if scores.dtype.kind not in "fiu":
        raise ValueError(f"scores must be real numbers, got {scores.dtype}")
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        raise ValueError("scores must not be NaN: a NaN has no place in an order")


def check_rate(fpr: float) -> None:
    """Refuse what is no rate.

    Raises:
        ValueError: Naming what was given.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr must lie in 0..1, got {fpr}")
