"""How the learning rate changes over a training: progress in [0, 1] → factor of the base rate.

A schedule knows neither optimizer nor number of iterations, so the same one fits any length of
training, and a resumed training needs no state for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from medseg.errors import UsageError

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Poly:
    """Fall to zero as ``(1 - progress) ** power``, the schedule of TransUNet and nnU-Net.

    Attributes:
        power: 1 falls in a straight line; below it the rate stays high for longer.
        warmup: Share of the training in which the rate first rises from zero in a straight line.

    Source:
        Chen et al. 2021, arXiv:2102.04306: power 0.9, no warm-up.
    """

    power: float = 0.9
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)
        if self.power <= 0:
            raise UsageError(f"power must be above 0, got {self.power}")

    def __call__(self, progress: float) -> float:
        """Factor of the base learning rate."""
        warm, rest = _split(progress, self.warmup)
        return float(warm * (1.0 - rest) ** self.power)


@dataclass(frozen=True)
class Cosine:
    """Fall along half a cosine to ``final`` times the base rate.

    Attributes:
        warmup: Share of the training in which the rate first rises from zero in a straight line.
        final: Factor at the end.

    Source:
        Loshchilov and Hutter, arXiv:1608.03983, without restarts.
    """

    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)
        if not 0 <= self.final <= 1:
            raise UsageError(f"final must lie in 0..1, got {self.final}")

    def __call__(self, progress: float) -> float:
        """Factor of the base learning rate."""
        warm, rest = _split(progress, self.warmup)
        return warm * (self.final + (1 - self.final) * (1 + math.cos(math.pi * rest)) / 2)


@dataclass(frozen=True)
class Constant:
    """Stay at the base rate.

    Attributes:
        warmup: Share of the training in which the rate first rises from zero in a straight line.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)

    def __call__(self, progress: float) -> float:
        """Factor of the base learning rate."""
        return _split(progress, self.warmup)[0]


def _split(progress: float, warmup: float) -> tuple[float, float]:
    """Factor of the warm-up, and progress through what comes after it."""
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup:
        return progress / warmup, 0.0
    return 1.0, (progress - warmup) / (1.0 - warmup)


def _check_warmup(warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise UsageError(f"warmup must lie in 0..1, a share of the training, got {warmup}")
