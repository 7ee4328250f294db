"""All figures of one case, organ by organ, sharing what work can be shared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.metrics.boxes import Box, as_integers, bounding_boxes
from medseg.metrics.masks import check_spacing
from medseg.metrics.surface import percentile_95, surface_distances

Status = Literal["scored", "missed", "false_positive", "absent"]
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class OrganFigures:
    """What one case says of one organ.

    Attributes:
        status: ``"scored"`` (the organ is in both label maps), ``"missed"`` (in the reference
            alone), ``"false_positive"`` (in the prediction alone) or ``"absent"`` (in neither).
        dsc: As :func:`medseg.metrics.dsc`; ``nan`` where absent.
        hd95: As :func:`medseg.metrics.hd95`, pooled, in mm; ``inf`` where missed or invented,
            ``nan`` where absent.
        hd95_directed: The same with the larger of the directed percentiles.
        volume_pred_ml: Volume of the prediction.
        volume_label_ml: Volume of the reference.
    """

    status: Status
    dsc: float
    hd95: float
    hd95_directed: float
    volume_pred_ml: float
    volume_label_ml: float


def evaluate_case(
    pred: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    labels: Mapping[str, int],
    *,
    truth_labels: Mapping[str, int] | None = None,
) -> dict[str, OrganFigures]:
    """Figures of every organ of one case.

    Args:
        pred: Predicted label map, shape (I, J, K) or (H, W): integers, or floats that hold whole
            numbers.
        label: Reference label map on the same grid; the two may differ in type.
        spacing: Distance between voxel centres along each array axis, in mm.
        labels: Organ name → value. Values need not be consecutive; values that are not named
            are left out of account.
        truth_labels: Organ name → value in ``label``, if it has other values than ``pred``;
            every organ of ``labels`` must be in it.

    Returns:
        The figures by organ name, in the order of ``labels``.

    Raises:
        ValueError: If the shapes or the spacing do not fit together, a label map holds broken
            numbers, or an organ has no value or that of the background.
    """
    if pred.shape != label.shape:
        raise ValueError(
            f"pred and label must have one shape, got pred {pred.shape} and label {label.shape}"
        )
    check_spacing(pred.shape, spacing)
    truth_labels = labels if truth_labels is None else truth_labels
    _check_labels(labels, truth_labels)
    pred, label = as_integers(pred), as_integers(label)
    if pred.flags.f_contiguous:  # as read from NIfTI: walk through memory in its order
        pred, label, spacing = pred.T, label.T, tuple(spacing)[::-1]
    pred_boxes, label_boxes = bounding_boxes(pred), bounding_boxes(label)
    figures = {}
    for organ, value in labels.items():
        truth = truth_labels[organ]
        box = _join(pred_boxes.get(value), label_boxes.get(truth))
        figures[organ] = _figures(pred[box] == value, label[box] == truth, spacing)
    return figures


def _figures(pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> OrganFigures:
    n_pred, n_label = int(np.count_nonzero(pred)), int(np.count_nonzero(label))
    voxel_ml = float(np.prod(spacing)) / 1000
    volumes = n_pred * voxel_ml, n_label * voxel_ml
    if not n_pred and not n_label:
        return OrganFigures("absent", NAN, NAN, NAN, *volumes)
    if not n_pred or not n_label:
        return OrganFigures("false_positive" if n_pred else "missed", 0.0, INF, INF, *volumes)
    dsc = 2.0 * int(np.count_nonzero(pred & label)) / (n_pred + n_label)
    distances = surface_distances(pred, label, spacing)
    pooled, directed = (percentile_95(*distances, "pooled"), percentile_95(*distances, "directed"))
    return OrganFigures("scored", dsc, pooled, directed, *volumes)


def _join(one: Box | None, other: Box | None) -> Box:
    """The smallest box around both; an empty one where neither is."""
    if one is None or other is None:
        return one or other or (slice(0, 0),)
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )


def _check_labels(labels: Mapping[str, int], truth_labels: Mapping[str, int]) -> None:
    for organ, value in labels.items():
        if organ not in truth_labels:
            raise ValueError(f"truth_labels must name {organ!r}, got {sorted(truth_labels)}")
        if 0 in (value, truth_labels[organ]):
            raise ValueError(f"{organ!r} must have another value than 0, which is background")
