"""A ROC curve from more pixels than memory holds, with bounds on what its bins hide."""

from dataclasses import dataclass, field

import numpy as np

from medseg.metrics.detection import check_rate, check_scores

BITS = 18  # bins: 2**18, two counts of 8 bytes each, 4 MiB in all
LARGEST_BITS = 24
BLOCK = 1 << 20  # pixels looked at together
SIGN = np.uint32(1 << 31)


@dataclass(frozen=True)
class Bounds:
    """What is certain of a figure: it is at least ``lower`` and at most ``upper``."""

    lower: float
    upper: float


@dataclass(frozen=True)
class Curve:
    """Points of a ROC curve, from the strictest threshold to the loosest.

    Attributes:
        threshold: Scores of at least this much count as found, float32; the first is infinite.
        fpr: False-positive rate at each threshold.
        tpr: True-positive rate at each threshold.
    """

    threshold: np.ndarray
    fpr: np.ndarray
    tpr: np.ndarray


@dataclass(eq=False)
class RocCounts:
    """Counts of positive and negative pixels per bin of score, added to image by image.

    A bin holds the scores whose float32 representations share their first ``bits`` bits: bins are
    as narrow near 0 as floating-point numbers are, and with 18 bits every bin spans less than
    0.2 % of its scores. Memory is 2**(bits + 4) bytes whatever the number of pixels.

    Attributes:
        bits: 9 to 24; the number of bins is 2**bits.
        positive: Pixels of the class in each bin, int64, lowest scores first.
        negative: The other pixels in each bin.
        ignored: Pixels that were left out.
    """

    bits: int = BITS
    positive: np.ndarray = field(init=False, repr=False)
    negative: np.ndarray = field(init=False, repr=False)
    ignored: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if not 9 <= self.bits <= LARGEST_BITS:
            raise ValueError(f"bits must be 9 to {LARGEST_BITS}, got {self.bits}")
        self.positive = np.zeros(1 << self.bits, dtype=np.int64)
        self.negative = np.zeros(1 << self.bits, dtype=np.int64)

    def add(self, scores: np.ndarray, label: np.ndarray, ignore: np.ndarray | None = None) -> None:
        """Count the pixels of one image.

        Args:
            scores: Higher means more likely of the class, any shape; rounded to float32.
            label: Truth, bool, same shape.
            ignore: Pixels that are left out, bool, same shape.

        Raises:
            ValueError: If shapes or dtypes do not fit, or a score is NaN.
        """
        check_scores(scores, label, ignore)
        flat, truth = scores.reshape(-1), label.reshape(-1)
        out = None if ignore is None else ignore.reshape(-1)
        for start in range(0, flat.size, BLOCK):
            part = slice(start, start + BLOCK)
            bins, hits = self._bins(flat[part]), truth[part]
            kept = np.ones_like(hits) if out is None else ~out[part]
            self.ignored += int(hits.size - np.count_nonzero(kept))
            for counts, chosen in ((self.positive, hits), (self.negative, ~hits)):
                found, often = np.unique(bins[kept & chosen], return_counts=True)
                counts[found] += often

    def merge(self, other: "RocCounts") -> None:
        """Add the counts of another set of images.

        Raises:
            ValueError: If its bins are others.
        """
        if other.bits != self.bits:
            raise ValueError(f"counts to merge must have {self.bits} bits, got {other.bits}")
        self.positive += other.positive
        self.negative += other.negative
        self.ignored += other.ignored

    def curve(self, *, ignored_count_as_negative: bool = False) -> Curve:
        """Points of the exact ROC curve, at the lower end of every bin that holds a pixel.

        Rates are ``nan`` where there is no positive or no negative pixel to divide by.
        """
        occupied = np.flatnonzero(self.positive + self.negative)[::-1]
        true = np.concatenate([[0], np.cumsum(self.positive[occupied])])
        false = np.concatenate([[0], np.cumsum(self.negative[occupied])])
        threshold = np.concatenate([[np.inf], self._lower_ends(occupied)]).astype(np.float32)
        negatives = false[-1] + (self.ignored if ignored_count_as_negative else 0)
        return Curve(threshold, _rate(false, negatives), _rate(true, true[-1]))

    def tpr_at_fpr(self, fpr: float, *, ignored_count_as_negative: bool = False) -> Bounds:
        """Bounds on :func:`medseg.metrics.tpr_at_fpr` of all pixels added so far.

        ``lower`` is reached by a threshold at the end of a bin. The exact figure may be higher,
        by a threshold within the next bin, but no higher than ``upper``, which takes all
        positive pixels of that bin. The two are equal where that bin holds none.

        Returns:
            The bounds; ``nan`` both without any positive or any negative pixel.

        Raises:
            ValueError: If ``fpr`` is no rate.
        """
        check_rate(fpr)
        curve = self.curve(ignored_count_as_negative=ignored_count_as_negative)
        if np.isnan(curve.fpr[-1]) or np.isnan(curve.tpr[-1]):
            return Bounds(float("nan"), float("nan"))
        last = int(np.searchsorted(curve.fpr, fpr, side="right")) - 1
        following = min(last + 1, len(curve.tpr) - 1)
        return Bounds(float(curve.tpr[last]), float(curve.tpr[following]))

    def _bins(self, scores: np.ndarray) -> np.ndarray:
        """Bin of every score, int64; a higher score never has a lower bin."""
        plain = scores.astype(np.float32) + np.float32(0)  # -0 becomes 0
        pattern = plain.view(np.uint32)
        ordered = np.where(pattern & SIGN, ~pattern, pattern | SIGN)
        bins: np.ndarray = (ordered >> np.uint32(32 - self.bits)).astype(np.int64)
        return bins

    def _lower_ends(self, bins: np.ndarray) -> np.ndarray:
        """The lowest score of each bin, float32; lowest of all is minus infinity."""
        ordered = bins.astype(np.uint32) << np.uint32(32 - self.bits)
        pattern = np.where(ordered & SIGN, ordered ^ SIGN, ~ordered)
        ends: np.ndarray = pattern.astype(np.uint32).view(np.float32)
        ends[np.isnan(ends)] = -np.inf
        return ends


def _rate(counts: np.ndarray, total: int) -> np.ndarray:
    return counts / total if total else np.full(counts.shape, np.nan)
