"""Whether paired differences are more than chance: Wilcoxon's signed ranks, Holm's correction."""

from functools import lru_cache
from math import erfc, sqrt

import numpy as np
from scipy.stats import rankdata

EXACT_UP_TO = 100  # pairs; the normal approximation beyond
DECIMALS = 10  # figures computed in two ways differ in the last bits, and are tied all the same


def wilcoxon(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilcoxon's signed-rank test, two-sided, that each column's differences centre on 0.

    Differences of 0 are left out, as Wilcoxon did; equal sizes share their mean rank. Up to 100
    pairs, p is exact given the ranks, ties or not: the share of all ways to set the signs whose
    rank sum is as far off; beyond, the normal approximation with the variance of those ranks.

    Args:
        differences: Shape (cases, columns); ``nan`` where there is no pair.

    Returns:
        p, shape (columns,): 1 where every difference is 0, ``nan`` where there is no pair; fewer
        than 6 pairs cannot come below 0.05. And the rank-biserial correlation, same shape: the
        share of the rank sum that lies above 0 less that below, from -1 to 1.

    Raises:
        ValueError: If ``differences`` is no matrix or holds infinities.

    Source:
        Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1 (1945) 80-83.
    """
    if differences.ndim != 2 or np.isinf(differences).any():
        raise ValueError(
            "differences must be finite or nan, shape (cases, columns), "
            f"got shape {differences.shape}"
        )
    rounded = np.round(differences, DECIMALS)
    found = np.array([_signed_rank(column) for column in rounded.T], dtype=np.float64)
    p, balance = found.reshape(-1, 2).T
    return p, balance


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p: reporting those at most alpha errs anywhere in at most alpha of cases.

    Args:
        p: Of one family, shape (tests,); ``nan`` for what was not tested and does not count.

    Returns:
        Adjusted p in the same order, at most 1.

    Source:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Statist. 6
        (1979) 65-70.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def pairs_needed(tests: int, alpha: float) -> int:
    """Fewest unequal pairs with which one of so many tests can come out significant."""
    pairs = 1
    while tests * 2.0 ** (1 - pairs) > alpha:
        pairs += 1
    return pairs


def _signed_rank(differences: np.ndarray) -> tuple[float, float]:
    pairs = differences[~np.isnan(differences)]
    unequal = pairs[pairs != 0]
    if unequal.size == 0:
        return (1.0, 0.0) if pairs.size else (float("nan"), float("nan"))
    doubled = np.rint(2 * rankdata(np.abs(unequal))).astype(np.int64)  # ranks are whole or half
    positive, total = int(doubled[unequal > 0].sum()), int(doubled.sum())
    balance = 2 * positive / total - 1
    if unequal.size > EXACT_UP_TO:
        distance = abs(positive - total / 2) / sqrt(float((doubled**2).sum()) / 4)
        return erfc(distance / sqrt(2)), balance
    below = _chances_up_to(np.sort(doubled).tobytes())
    extreme = min(positive, total - positive)  # the distribution is symmetric
    return min(1.0, 2 * float(below[extreme])), balance


@lru_cache(maxsize=64)
def _chances_up_to(ranks: bytes) -> np.ndarray:
    """Chance of each rank sum or a smaller one, if every sign is a coin's."""
    doubled = np.frombuffer(ranks, dtype=np.int64)
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1.0
    for rank in doubled:
        chance *= 0.5
        chance[rank:] = chance[rank:] + chance[:-rank]  # the right side is copied first
    return chance.cumsum()
