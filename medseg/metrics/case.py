"""All figures of one case, organ by organ, sharing what work can be shared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.metrics.boxes import as_integers, bounding_boxes
from medseg.metrics.crops import Pair, Status, crop, in_memory_order, join
from medseg.metrics.figures import figures_of
from medseg.metrics.masks import check_spacing
from medseg.metrics.table import DEFAULT_METRICS, TOLERANCES_MM, keys_of

LabelValue = int | Sequence[int]


@dataclass(frozen=True)
class OrganFigures:
    """What one case says of one organ.

    Attributes:
        status: ``"scored"`` (the organ is in both label maps), ``"missed"`` (in the reference
            alone), ``"false_positive"`` (in the prediction alone) or ``"absent"`` (in neither).
        values: Key of :func:`medseg.metrics.table.keys_of` → figure. Where the organ was missed
            or invented, metrics that judge are at their worst: 0, or ``inf`` for distances;
            where it is absent, they are ``nan``. Volumes and counts are what they are.
    """

    status: Status
    values: Mapping[str, float]

    def __getitem__(self, key: str) -> float:
        """The figure of one key."""
        return self.values[key]


def evaluate_case(
    pred: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    labels: Mapping[str, LabelValue],
    *,
    truth_labels: Mapping[str, LabelValue] | None = None,
    metrics: Sequence[str] | None = None,
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
) -> dict[str, OrganFigures]:
    """Figures of every organ of one case.

    Args:
        pred: Predicted label map, shape (I, J, K) or (H, W): integers, or floats that hold whole
            numbers.
        label: Reference label map on the same grid; the two may differ in type.
        spacing: Distance between voxel centres along each array axis, in mm.
        labels: Organ name → value, or several values: a region, which is their union. Values
            need not be consecutive, and may belong to several organs; values that are not named
            are left out of account.
        truth_labels: Organ name → value or values in ``label``, if it has other values than
            ``pred``; every organ of ``labels`` must be in it.
        metrics: Names from :data:`medseg.metrics.table.METRICS`; ``None``: all of them. Only
            what is asked for is worked out.
        tolerances_mm: Tolerances of the NSD, in mm.

    Returns:
        The figures by organ name, in the order of ``labels``.

    Raises:
        ValueError: If the shapes or the spacing do not fit together, a label map holds broken
            numbers, an organ has no value or that of the background, or a metric is unknown.
    """
    if pred.shape != label.shape:
        raise ValueError(
            f"pred and label must have one shape, got pred {pred.shape} and label {label.shape}"
        )
    check_spacing(pred.shape, spacing)
    metrics = DEFAULT_METRICS if metrics is None else metrics
    keys_of(metrics, tolerances_mm)
    truth_labels = labels if truth_labels is None else truth_labels
    _check_labels(labels, truth_labels)
    pred, label, grid = in_memory_order(as_integers(pred), as_integers(label), spacing)
    pred_boxes, label_boxes = bounding_boxes(pred), bounding_boxes(label)
    figures = {}
    for organ in labels:
        values, truth = values_of(labels[organ]), values_of(truth_labels[organ])
        pair = Pair(
            crop(pred, join([pred_boxes.get(value) for value in values]), values),
            crop(label, join([label_boxes.get(value) for value in truth]), truth),
            grid,
        )
        figures[organ] = OrganFigures(pair.status, figures_of(pair, metrics, tolerances_mm))
    return figures


def values_of(value: LabelValue) -> tuple[int, ...]:
    """The values of an organ or region."""
    if isinstance(value, Sequence):
        return tuple(int(part) for part in value)
    return (int(value),)


def _check_labels(labels: Mapping[str, LabelValue], truth_labels: Mapping[str, LabelValue]) -> None:
    for organ, value in labels.items():
        if organ not in truth_labels:
            raise ValueError(f"truth_labels must name {organ!r}, got {sorted(truth_labels)}")
        for values in (values_of(value), values_of(truth_labels[organ])):
            if not values:
                raise ValueError(f"{organ!r} must have at least one value, got none")
            if 0 in values:
                raise ValueError(f"{organ!r} must have another value than 0, which is background")
