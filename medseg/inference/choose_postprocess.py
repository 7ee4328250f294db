"""Which post-processing helps which organ, found on validation cases."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from medseg.inference.postprocess import Step, cleared
from medseg.metrics import dsc, hd95
from medseg.metrics.boxes import bounding_boxes
from medseg.metrics.crops import join

Compared = tuple[np.ndarray, np.ndarray, Sequence[float]]  # predicted, true, spacing in mm
PIECES = (
    Step(keep_largest=1),
    Step(keep_largest=2),
    Step(min_ml=0.1),
    Step(min_ml=0.5),
    Step(min_ml=2.0),
    Step(min_ml=10.0),
)
HOLES = Step(fill_holes=True)


@dataclass
class _Figures:
    """Of one organ under one choice, over the cases."""

    dsc: list[float] = field(default_factory=list)
    hd95: list[float] = field(default_factory=list)
    false_positives: int = 0

    def add(self, pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> None:
        if label.any():
            self.dsc.append(dsc(pred, label))
            self.hd95.append(hd95(pred, label, spacing))
        else:
            self.false_positives += bool(pred.any())


@dataclass(frozen=True)
class Choice:
    """What was chosen for an organ.

    Attributes:
        step: What helps, or ``None`` where nothing does.
        dsc_before: Mean DSC over the cases that have the organ, as predicted; ``None`` if none.
        dsc_after: The same after ``step``.
        cases: How many have the organ.
    """

    step: Step | None
    dsc_before: float | None
    dsc_after: float | None
    cases: int

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"step": None if self.step is None else self.step.to_plain()}


def choose_steps(
    cases: Iterable[Compared],
    labels: Mapping[str, int],
    *,
    least_gain: float = 1e-3,
    tolerance: float = 0.01,
) -> dict[str, Choice]:
    """Choose for every organ what raises its mean DSC, and nothing where nothing does.

    First one of ``PIECES``, the best, then ``HOLES`` on top. A choice counts only if the mean DSC
    over the cases that have the organ rises, no further case misses the organ or invents it, and
    the mean HD95 (pooled, mm) over the cases where it was found does not rise.

    Args:
        cases: Predicted label map, true one and spacing in mm, for validation cases; each is
            looked at once and let go.
        labels: Organ → value in both label maps.
        least_gain: Of mean DSC, below which nothing is done: some gain is found by chance.
        tolerance: Share by which the mean HD95 may rise.

    Returns:
        Organ → what was chosen.
    """
    figures: dict[str, dict[Step | None, _Figures]] = {
        organ: defaultdict(_Figures) for organ in labels
    }
    for pred, label, spacing in cases:
        boxes = [bounding_boxes(np.asarray(array)) for array in (pred, label)]
        for organ, value in labels.items():
            box = join([found.get(value) for found in boxes])
            if box is not None:
                masks = pred[box] == value, label[box] == value
                _add_case(figures[organ], masks, pred[box] == 0, spacing)
    return {organ: _choice(found, least_gain, tolerance) for organ, found in figures.items()}


def _choice(found: dict[Step | None, _Figures], least_gain: float, tolerance: float) -> Choice:
    step = _choose(found, least_gain, tolerance)
    before, after = found[None].dsc, found[step].dsc
    if not before:
        return Choice(None, None, None, 0)
    return Choice(step, float(np.mean(before)), float(np.mean(after)), len(before))


def _add_case(
    figures: dict[Step | None, _Figures],
    masks: tuple[np.ndarray, np.ndarray],
    background: np.ndarray,
    spacing: Sequence[float],
) -> None:
    pred, label = masks
    voxel_ml = float(np.prod(spacing)) / 1000
    figures[None].add(pred, label, spacing)
    for pieces in (None, *PIECES):
        for step in (pieces, _with_holes(pieces)):
            if step is not None:
                kept = cleared(pred, step, voxel_ml) & (pred | background)
                figures[step].add(kept, label, spacing)


def _choose(
    figures: Mapping[Step | None, _Figures], least_gain: float, tolerance: float
) -> Step | None:
    chosen: Step | None = None
    for steps in (PIECES, None):
        tried = steps or (_with_holes(chosen),)
        before = figures.get(chosen)
        if before is None:
            return None
        gains = {step: _gain(before, figures[step], tolerance) for step in tried}
        best = max(tried, key=lambda step: gains[step])
        if gains[best] >= least_gain:
            chosen = best
    return chosen


def _gain(before: _Figures, after: _Figures, tolerance: float) -> float:
    """Of mean DSC; minus infinity if something else becomes worse."""
    if not before.dsc:
        return -np.inf
    was, now = np.array(before.hd95), np.array(after.hd95)
    found = np.isfinite(was) & np.isfinite(now)
    missed = np.count_nonzero(after.dsc) < np.count_nonzero(before.dsc)
    farther = found.any() and now[found].mean() > was[found].mean() * (1 + tolerance)
    if missed or farther or after.false_positives > before.false_positives:
        return -np.inf
    return float(np.mean(after.dsc) - np.mean(before.dsc))


def _with_holes(step: Step | None) -> Step:
    return HOLES if step is None else replace(step, fill_holes=True)
