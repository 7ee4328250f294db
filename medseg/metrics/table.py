"""The metrics by name: what each is called, its unit, and what it is where an organ is missed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medseg.metrics.nsd import check_tolerance

EMPTY = "0 where missed or false positive; left out where absent from both"
PENALTY = "the image diagonal where missed or false positive; left out where absent from both"
TOLERANCES_MM = (1.0, 2.0)


@dataclass(frozen=True)
class Metric:
    """What is to be known of a metric before its figures are read.

    Attributes:
        name: As it stands in tables.
        unit: ``"1"``, ``"mm"``, ``"ml"`` or ``"lesions"``.
        better: Which way is better; ``"none"`` for figures that describe.
        convention: Which of the definitions in use this is, and what a miss counts.
        headline: Whether it judges, and so has a mean over cases in which misses count.
        worst: What a missed or invented organ counts in that mean: 0, or the diagonal of the
            image; ``None`` for figures that describe.
    """

    name: str
    unit: str
    better: Literal["higher", "lower", "none"]
    convention: str
    headline: bool
    worst: float | Literal["diagonal"] | None


def _share(name: str, convention: str) -> Metric:
    return Metric(name, "1", "higher", f"{convention}; {EMPTY}", True, 0.0)


def _distance(name: str, convention: str) -> Metric:
    return Metric(name, "mm", "lower", f"{convention}; in means {PENALTY}", True, "diagonal")


def _said(name: str, unit: str, convention: str) -> Metric:
    return Metric(name, unit, "none", convention, False, None)


TOUCH = "pieces that share a corner are one lesion, one shared voxel is a find"
METRICS: dict[str, Metric] = {
    "dsc": _share("DSC", "Dice"),
    "iou": _share("IoU", "intersection over union"),
    "precision": _share("Precision", "share of the predicted voxels that are right"),
    "recall": _share("Recall", "share of the organ's voxels that were found"),
    "volume_pred_ml": _said("Predicted volume", "ml", "voxels times their volume"),
    "volume_label_ml": _said("True volume", "ml", "voxels times their volume"),
    "volume_difference_ml": _said("Volume difference", "ml", "predicted less true volume"),
    "hd95": _distance("HD95 (pooled)", "one percentile of both directions pooled, as MedPy"),
    "hd95_directed": _distance(
        "HD95 (directed)", "the larger of both directed percentiles, as MONAI"
    ),
    "hd": _distance("HD", "largest distance between the surfaces"),
    "assd": _distance("ASSD", "mean distance of all surface voxels of both, as MedPy 0.5.2"),
    "nsd": _share("NSD", "share of both surfaces, by area as DeepMind, within the tolerance"),
    "boundary_iou": _share("Boundary IoU", "IoU of the rims, 2 mm from the surface inwards"),
    "lesions_found": _said("Lesions found", "lesions", f"of the truth; {TOUCH}"),
    "lesions_missed": _said("Lesions missed", "lesions", f"of the truth; {TOUCH}"),
    "lesions_invented": _said("Lesions invented", "lesions", f"of the prediction; {TOUCH}"),
    "lesion_f1": _share("Lesion F1", TOUCH),
    "panoptic_quality": _share("Panoptic quality", "lesions matched where their IoU exceeds 0.5"),
    "centre_distance_mm": _distance("Centre distance", "between the centres of mass"),
}
DEFAULT_METRICS = tuple(METRICS)


def keys_of(
    metrics: Sequence[str] | None = None, tolerances_mm: Sequence[float] = TOLERANCES_MM
) -> dict[str, Metric]:
    """The keys that a choice of metrics has in the results, each with its metric.

    Args:
        metrics: Names from :data:`METRICS`; ``None``: all. ``nsd`` stands for one key per
            tolerance, such as ``nsd_1mm``.
        tolerances_mm: Tolerances of the NSD, in mm.

    Returns:
        In the order of ``metrics``.

    Raises:
        ValueError: If a name is unknown, or a tolerance is no length.
    """
    keys: dict[str, Metric] = {}
    for name in DEFAULT_METRICS if metrics is None else metrics:
        if name not in METRICS:
            raise ValueError(f"metrics must be of {', '.join(METRICS)}, got {name!r}")
        if name != "nsd":
            keys[name] = METRICS[name]
            continue
        for tolerance in tolerances_mm:
            check_tolerance(tolerance)
            title = f"NSD at {tolerance:g} mm"
            keys[nsd_key(tolerance)] = replace(METRICS[name], name=title)
    return keys


def nsd_key(tolerance_mm: float) -> str:
    """Key of the NSD at a tolerance: ``nsd_1mm``, ``nsd_0.5mm``."""
    return f"nsd_{tolerance_mm:g}mm"
