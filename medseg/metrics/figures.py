"""Every metric of the table for one organ, each part of the work done once and only if asked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from medseg.metrics import overlap
from medseg.metrics.boundary import boundary_iou_of
from medseg.metrics.centre import centre_distance_of
from medseg.metrics.crops import Pair, count_both
from medseg.metrics.lesions import Lesions, lesions_of
from medseg.metrics.nsd import Elements, elements, share_within
from medseg.metrics.runs import Runs, runs_of
from medseg.metrics.surface import (
    Distances,
    largest,
    mean_of_both,
    percentile_95,
    surface_distances,
)
from medseg.metrics.table import METRICS, Metric, nsd_key

NAN, INF = float("nan"), float("inf")


class Shared:
    """What several metrics of one organ need, worked out when the first asks.

    Args:
        pair: The organ in prediction and reference.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.voxel_ml = float(np.prod(pair.grid.spacing)) / 1000

    @cached_property
    def counts(self) -> tuple[int, int, int]:
        """Voxels of the prediction, of the reference, and of both."""
        pred, label = self.pair.pred, self.pair.label
        sizes = int(np.count_nonzero(pred.mask)), int(np.count_nonzero(label.mask))
        return *sizes, count_both(pred, label)

    @cached_property
    def distances(self) -> Distances:
        """Between the surface voxels."""
        return surface_distances(self.pair)

    @cached_property
    def elements(self) -> Elements:
        """Of the surface between the voxels."""
        return elements(self.pair)

    @cached_property
    def runs(self) -> tuple[Runs, Runs]:
        """Of both masks."""
        return runs_of(self.pair)

    @cached_property
    def lesions(self) -> Lesions:
        """What became of them."""
        return lesions_of(*self.runs)


COMPUTE: Mapping[str, Callable[[Shared], float]] = {
    "dsc": lambda organ: overlap.dsc_of(*organ.counts),
    "iou": lambda organ: overlap.iou_of(*organ.counts),
    "precision": lambda organ: overlap.precision_of(*organ.counts),
    "recall": lambda organ: overlap.recall_of(*organ.counts),
    "volume_pred_ml": lambda organ: organ.counts[0] * organ.voxel_ml,
    "volume_label_ml": lambda organ: organ.counts[1] * organ.voxel_ml,
    "volume_difference_ml": lambda organ: (organ.counts[0] - organ.counts[1]) * organ.voxel_ml,
    "hd95": lambda organ: percentile_95(*organ.distances, "pooled"),
    "hd95_directed": lambda organ: percentile_95(*organ.distances, "directed"),
    "hd": lambda organ: largest(organ.distances),
    "assd": lambda organ: mean_of_both(organ.distances),
    "boundary_iou": lambda organ: boundary_iou_of(organ.pair),
    "lesions_found": lambda organ: float(organ.lesions.found),
    "lesions_missed": lambda organ: float(organ.lesions.missed),
    "lesions_invented": lambda organ: float(organ.lesions.invented),
    "lesion_f1": lambda organ: organ.lesions.f1,
    "panoptic_quality": lambda organ: organ.lesions.panoptic_quality,
    "centre_distance_mm": lambda organ: centre_distance_of(*organ.runs, organ.pair.grid),
}


def figures_of(
    pair: Pair, metrics: Iterable[str], tolerances_mm: Sequence[float]
) -> dict[str, float]:
    """The figures of one organ by key, in the order of ``metrics``.

    Where the organ is not in both masks, a metric that judges is its worst value (``inf`` for
    distances), or ``nan`` if the organ is in neither; figures that describe are what they are.
    """
    organ, values = Shared(pair), dict[str, float]()
    for name in metrics:
        keys = [nsd_key(each) for each in tolerances_mm] if name == "nsd" else [name]
        if pair.status != "scored" and METRICS[name].headline:
            values |= dict.fromkeys(keys, _unscored(pair, METRICS[name]))
        elif name == "nsd":
            for key, tolerance in zip(keys, tolerances_mm, strict=True):
                values[key] = share_within(organ.elements, tolerance)
        else:
            values[name] = COMPUTE[name](organ)
    return values


def _unscored(pair: Pair, metric: Metric) -> float:
    if pair.status == "absent":
        return NAN
    return INF if metric.worst == "diagonal" else 0.0
