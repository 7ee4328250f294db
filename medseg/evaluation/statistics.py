"""Confidence intervals of means over cases, by resampling the cases.

One matrix holds how often each resample drew each case; times the figures it gives every mean of
every resample at once, and times 1 where there is a figure, the number of cases behind each. So
a case that does not count for an organ is left out of that organ within each resample, and all
organs and metrics are resampled together.

The intervals are BCa (bias-corrected and accelerated). Figures of segmentation are skewed, DSC
towards 0 and distances towards the image diagonal, and percentile intervals of skewed figures lie
too far on the short side; BCa corrects it to second order and costs two sums more.

Source:
    Efron, Better Bootstrap Confidence Intervals, JASA 82 (1987) 171-185.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

BLOCK = 1 << 22  # draws held at once
ROUNDING = 1e-12  # resampled means this close to the mean are equal to it


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap is drawn: number of resamples, level of confidence, seed."""

    resamples: int = 10_000
    level: float = 0.95
    seed: int = 0


def confidence(
    values: np.ndarray, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """BCa interval of the mean of each column.

    Args:
        values: Shape (cases, columns); ``nan`` where a case does not count for a column.
        resamples: Draws of as many cases as there are.
        level: Of confidence, between 0 and 1.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        Lower and upper ends, each of shape (columns,); ``nan`` where fewer than two cases count.

    Raises:
        ValueError: If ``values`` is no matrix or holds infinities, or another argument makes no
            sense.
    """
    values = _checked(values, resamples, level)
    means = resampled_means(values, resamples=resamples, seed=seed)
    mean, influence, known = _mean_and_influence(values)
    return _interval(means, mean, influence, np.where(known.sum(axis=0) > 1, level, np.nan))


def confidence_of_mean(
    values: np.ndarray, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """BCa interval of the mean over columns of the mean of each column.

    This is the mean over organs of the means over cases. A column without a figure, at all or in
    a resample, is left out. Arguments and errors are those of :func:`confidence`.
    """
    values = _checked(values, resamples, level)
    values = values[:, ~np.isnan(values).all(axis=0)]
    if values.shape[1] == 0 or (~np.isnan(values)).any(axis=1).sum() < 2:
        return float("nan"), float("nan")
    means = row_means(resampled_means(values, resamples=resamples, seed=seed))
    mean, influence, _ = _mean_and_influence(values)
    overall = influence.mean(axis=1, keepdims=True)
    low, high = _interval(means[:, None], mean.mean(keepdims=True), overall, np.array([level]))
    return float(low[0]), float(high[0])


def resampled_means(values: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Mean of each column in each resample of the cases, shape (resamples, columns).

    ``nan`` where a resample has no case with a figure in that column.
    """
    known = ~np.isnan(values)
    filled, weights = np.where(known, values, 0.0), known.astype(np.float64)
    means = np.empty((resamples, values.shape[1]))
    start = 0
    for counts in _counts(len(values), resamples, seed):
        block = means[start : start + len(counts)]
        number = counts @ weights
        block.fill(np.nan)
        np.divide(counts @ filled, number, out=block, where=number > 0)
        start += len(counts)
    return means


def row_means(values: np.ndarray) -> np.ndarray:
    """Mean of each row over what is not ``nan``; ``nan`` for a row of nothing."""
    known = ~np.isnan(values)
    number = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    means = np.full(len(values), np.nan)
    np.divide(total, number, out=means, where=number > 0)
    return means


def _counts(cases: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each resample drew each case, shape (block of resamples, cases)."""
    rng = np.random.default_rng(seed)
    block = max(BLOCK // max(cases, 1), 1)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        if cases == 0:
            yield np.zeros((rows, 0))
            continue
        drawn = rng.integers(cases, size=(rows, cases))
        drawn += cases * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * cases)
        yield counts.reshape(rows, cases).astype(np.float64)


def _mean_and_influence(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of each column, each case's pull on it, and where there are figures."""
    known = ~np.isnan(values)
    mean = row_means(values.T)
    influence = np.where(known, values - mean, 0.0) / np.maximum(known.sum(axis=0), 1)
    return mean, influence, known


def _interval(
    means: np.ndarray, mean: np.ndarray, influence: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """BCa ends from resampled means (resamples, columns), the means and their influences."""
    ordered = np.sort(means, axis=0)  # nan last
    number = (~np.isnan(ordered)).sum(axis=0)
    near = ROUNDING * (1 + np.abs(mean))
    below = (ordered < mean - near).sum(axis=0) + 0.5 * (abs(ordered - mean) <= near).sum(axis=0)
    share = below / np.maximum(number, 1)
    bias = ndtri(np.clip(share, 1 / (len(means) + 1), len(means) / (len(means) + 1)))
    spread = (influence**2).sum(axis=0)
    cubed = (influence**3).sum(axis=0)
    skew = np.divide(cubed, 6 * spread**1.5, out=np.zeros_like(spread), where=spread > 0)

    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        moved = bias + ndtri(tail)
        place = ndtr(bias + moved / np.maximum(1 - skew * moved, 0.05))
        ends.append(_quantiles(ordered, number, place))
    same = (spread <= near**2) & ~np.isnan(level)  # no spread: nothing to correct for
    return np.where(same, mean, ends[0]), np.where(same, mean, ends[1])


def _quantiles(ordered: np.ndarray, number: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A quantile of its own for every sorted column, between neighbours linearly."""
    position = np.nan_to_num(places) * np.maximum(number - 1, 0)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, np.maximum(number - 1, 0))
    columns = np.arange(ordered.shape[1])
    low, high = ordered[lower, columns], ordered[upper, columns]
    return np.where(np.isnan(places), np.nan, low + (position - lower) * (high - low))


def _checked(values: np.ndarray, resamples: int, level: float) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"values must have shape (cases, columns), got {values.shape}")
    if np.isinf(values).any():
        raise ValueError("values must be finite or nan, got infinities")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            "wanted resamples of 1 or more and a level between 0 and 1, "
            f"got {resamples} and {level}"
        )
    return values
