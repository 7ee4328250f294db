"""The statistics of paired figures, on arrays: differences, tests, ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from medseg.evaluation.significance import DECIMALS, holm, wilcoxon
from medseg.evaluation.statistics import confidence, resampled_means, row_means


@dataclass(frozen=True)
class Paired:
    """A model against a reference, each array of shape (columns,).

    Attributes:
        n: Pairs.
        mean: Of the differences, model less reference; ``nan`` of nothing, as in the next three.
        median: Of the differences.
        low: Lower end of the bootstrap interval of ``mean``; ``nan`` for fewer than two pairs.
        high: Its upper end.
        wins: Pairs in which the model is better by the tolerance or more.
        ties: Pairs closer than that.
        losses: Pairs in which it is worse.
        effect: Rank-biserial correlation: 1 if every difference is above 0, -1 if below.
        p: Of Wilcoxon's signed-rank test, not adjusted; ``nan`` without a pair.
    """

    n: np.ndarray
    mean: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    wins: np.ndarray
    ties: np.ndarray
    losses: np.ndarray
    effect: np.ndarray
    p: np.ndarray


@dataclass(frozen=True)
class Ranking:
    """How models rank by one metric, each array of shape (models,) unless said otherwise.

    Attributes:
        mean: The figure ranked by.
        rank: 1 is best; equals share their mean rank.
        first: Share of resamples of the cases in which a model is best; equals share it.
        mean_rank: Over the resamples.
        tau: Kendall's tau between the ranks of a resample and ``rank``, mean over resamples.
        unchanged: Share of resamples with the same ranks.
    """

    mean: np.ndarray
    rank: np.ndarray
    first: np.ndarray
    mean_rank: np.ndarray
    tau: float
    unchanged: float


def with_mean(values: np.ndarray) -> np.ndarray:
    """Figures (cases, organs) with the mean over the organs of each case as a last column."""
    return np.column_stack([values, row_means(values)])


def paired(
    differences: np.ndarray,
    *,
    higher_is_better: bool,
    tolerance: float,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """What paired differences say.

    Args:
        differences: Model less reference, shape (cases, columns); ``nan`` where no pair is.
        higher_is_better: Of the figures that were subtracted.
        tolerance: Differences smaller than this are ties.
        resamples: Draws of the cases, the same for all columns.
        level: Of confidence.
        seed: Of the draws.

    Raises:
        ValueError: If ``differences`` is no matrix or holds infinities.
    """
    known = ~np.isnan(differences)
    n = known.sum(axis=0)
    low, high = confidence(differences, resamples=resamples, level=level, seed=seed)
    gains = np.where(known, differences if higher_is_better else -differences, 0.0)
    gains = np.round(gains, DECIMALS)  # 0.9 - 0.899 is a little less than 0.001
    wins, losses = (gains >= tolerance).sum(axis=0), (gains <= -tolerance).sum(axis=0)
    p, effect = wilcoxon(differences)
    medians = [np.median(column[there]) if there.any() else np.nan
               for column, there in zip(differences.T, known.T, strict=True)]  # fmt: skip
    return Paired(
        n=n,
        mean=row_means(differences.T),
        median=np.array(medians, dtype=np.float64),
        low=low,
        high=high,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        effect=effect,
        p=p,
    )


def significant(
    families: Sequence[np.ndarray], alpha: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Adjusted p and the verdict of every test, one family per metric.

    Holm's correction runs within a family. The first family decides first: only models for which
    it reports a difference have the others looked at. So where nothing differs, a comparison of
    any number of metrics reports something in at most ``alpha`` of cases; and within a metric, at
    most ``alpha`` err whatever is true of the other organs.

    Args:
        families: Unadjusted p per metric, each of shape (models, tests); ``nan``: not tested.
        alpha: Between 0 and 1.

    Returns:
        Per metric, adjusted p and whether a difference is reported, both (models, tests).
    """
    adjusted = [holm(p.ravel()).reshape(p.shape) for p in families]
    below = [np.nan_to_num(p, nan=1.0) <= alpha for p in adjusted]
    opened = below[0].any(axis=1, keepdims=True) if below else np.zeros((0, 1), dtype=bool)
    return [(p, verdict & opened) for p, verdict in zip(adjusted, below, strict=True)]


def ranking(
    figures: np.ndarray, *, higher_is_better: bool, resamples: int = 10_000, seed: int = 0
) -> Ranking:
    """Rank models, and see how far the ranks hang on the cases that were drawn.

    Args:
        figures: Shape (cases, models); a case that is ``nan`` for one model is left out for all.
        higher_is_better: Whether the largest mean ranks first.
        resamples: Draws of the cases.
        seed: Of the draws.
    """
    figures = figures[~np.isnan(figures).any(axis=1)]
    models = figures.shape[1]
    if len(figures) == 0:
        nothing = np.full(models, np.nan)
        return Ranking(nothing, nothing, nothing, nothing, float("nan"), float("nan"))
    sign = -1.0 if higher_is_better else 1.0
    mean = figures.mean(axis=0)
    rank = rankdata(np.round(sign * mean, DECIMALS))
    drawn = np.round(sign * resampled_means(figures, resamples=resamples, seed=seed), DECIMALS)
    ranks = rankdata(drawn, axis=1)
    best = drawn == drawn.min(axis=1, keepdims=True)
    one, other = np.triu_indices(models, 1)
    order = np.sign(rank[one] - rank[other])
    agreement = (np.sign(drawn[:, one] - drawn[:, other]) * order).mean(axis=1)
    return Ranking(
        mean=mean,
        rank=rank,
        first=(best / best.sum(axis=1, keepdims=True)).mean(axis=0),
        mean_rank=ranks.mean(axis=0),
        tau=float(agreement.mean()),
        unchanged=float((ranks == rank).all(axis=1).mean()),
    )
