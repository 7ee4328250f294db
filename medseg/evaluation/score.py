"""One case: a predicted and a true label map in, the figures of every organ out."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Source
from medseg.errors import InputError, UsageError
from medseg.evaluation.conventions import CONVENTIONS, columns_of, needed_metrics
from medseg.evaluation.pairs import Pair
from medseg.files import sha256
from medseg.metrics import OrganFigures, evaluate_case
from medseg.metrics.boxes import bounding_boxes
from medseg.metrics.case import LabelValue, values_of
from medseg.metrics.table import DEFAULT_METRICS, METRICS, TOLERANCES_MM, keys_of
from medseg.volumes import Volume, corner_distance_mm, in_axes_of, read_volume

GRID_TOLERANCE_MM = 0.1  # headers are written with rounding; a real mismatch is a voxel or more


@dataclass(frozen=True)
class Scoring:
    """What is measured of every case.

    Attributes:
        metrics: Names of the metrics table; ``"nsd"`` stands for one figure per tolerance.
        tolerances_mm: Distances within which NSD forgives a surface.
        conventions: Programs whose own figures are wanted beside ours: ``"transunet"``,
            ``"medpy"``, ``"monai"``, ``"nnunet"``.
        missing_as_empty: Score a case without prediction as an empty label map, so that every
            organ of its truth is missed, instead of telling it as a failure.
        regions: Unions of organs that are scored besides: ``{"tumour": ("core", "oedema")}``.

    Raises:
        UsageError: If a name is unknown or a tolerance is no length.
    """

    metrics: Sequence[str] = DEFAULT_METRICS
    tolerances_mm: Sequence[float] = TOLERANCES_MM
    conventions: Sequence[str] = ()
    missing_as_empty: bool = False
    regions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse_unknown("metrics", self.metrics, METRICS)
        _refuse_unknown("conventions", self.conventions, CONVENTIONS)
        if not self.metrics:
            raise UsageError("metrics: expected at least one, got none")
        if not all(math.isfinite(length) and length > 0 for length in self.tolerances_mm):
            raise UsageError(f"tolerances must be lengths in mm, got {list(self.tolerances_mm)}")

    @property
    def keys(self) -> list[str]:
        """The figures that stand in the results, in their order."""
        return list(keys_of(self.metrics, self.tolerances_mm))

    def to_plain(self) -> dict[str, Any]:
        """As ``settings`` of ``results.json`` has it."""
        return {
            "metrics": list(self.metrics),
            "tolerances_mm": [float(length) for length in self.tolerances_mm],
            "conventions": list(self.conventions),
            "missing_as_empty": self.missing_as_empty,
            "regions": {region: list(parts) for region, parts in self.regions.items()},
            "grid_tolerance_mm": GRID_TOLERANCE_MM,
        }


def score(pair: Pair, scoring: Scoring | None = None) -> dict[str, Any]:
    """The entry of one case in the results.

    Args:
        pair: The files, and what their values mean.
        scoring: What is measured; by default all metrics, and no other program's.

    Raises:
        InputError: If a file is unreadable, the grids differ, a value is not named, or the two
            sides name no organ in common.
    """
    scoring = scoring or Scoring()
    if pair.prediction is None and not scoring.missing_as_empty:
        raise InputError(pair.case_id, "a prediction", "none", hint=pair.reason)
    label = read_volume(pair.label, "label")
    given = _prediction_or_nothing(pair, label)
    pred = _on_grid(pair, given, label)
    _check_values(first_of(pair.prediction or pair.label), pred, pair.labels)
    _check_values(first_of(pair.label), label, pair.truth_labels)
    organs = {organ: value for organ, value in pair.labels.items() if organ in pair.truth_labels}
    if not organs:
        wanted = f"an organ of the truth ({', '.join(pair.truth_labels)})"
        raise InputError(pair.case_id, wanted, f"only {', '.join(pair.labels)}")
    size = np.multiply(label.array.shape, label.spacing)
    return {
        "case_id": pair.case_id,
        "prediction": None if pair.prediction is None else plain_path(pair.prediction),
        "label": plain_path(pair.label),
        "image": None if pair.image is None else plain_path(pair.image),
        "shape": list(label.array.shape),
        "spacing": list(label.spacing),
        "diagonal_mm": float(np.linalg.norm(size)),
        "reoriented": pred is not given,
        "sha256": {
            "prediction": None if pair.prediction is None else _sha256(pair.prediction),
            "label": _sha256(pair.label),
        },
        "organs": _figures(pair, scoring, organs, pred.array, label),
        "label_values": {organ: plain_value(pair.truth_labels[organ]) for organ in organs},
        "not_in_truth": [organ for organ in pair.labels if organ not in organs],
    }


def _figures(
    pair: Pair, scoring: Scoring, organs: Mapping[str, LabelValue], pred: np.ndarray, label: Volume
) -> dict[str, dict[str, Any]]:
    def measured(spacing: Sequence[float], metrics: Sequence[str]) -> dict[str, OrganFigures]:
        return evaluate_case(
            pred, label.array, spacing, organs, truth_labels=pair.truth_labels,
            metrics=metrics, tolerances_mm=scoring.tolerances_mm,
        )  # fmt: skip

    in_mm, in_voxels = needed_metrics(scoring.conventions)
    extra = [name for name in in_mm if name not in scoring.metrics]
    figures = measured(label.spacing, [*scoring.metrics, *extra])
    voxels = measured((1.0,) * 3, in_voxels) if in_voxels else figures
    entries = {}
    for organ, found in figures.items():
        columns = columns_of(scoring.conventions, found, voxels[organ])
        chosen = {key: found[key] for key in scoring.keys} | columns
        entries[organ] = {"status": found.status} | {
            key: value if math.isfinite(value) else None for key, value in chosen.items()
        }
    return entries


def _prediction_or_nothing(pair: Pair, label: Volume) -> Volume:
    if pair.prediction is None:
        return Volume(np.zeros(label.array.shape, np.uint8, order="F"), label.affine)
    return read_volume(pair.prediction, "label")


def _on_grid(pair: Pair, pred: Volume, label: Volume) -> Volume:
    """The prediction with its axes as those of the truth, if both then lie on one grid."""
    turned = in_axes_of(pred, label)
    wanted = f"the grid of {first_of(pair.label)}, shape {label.array.shape}"
    got = "a label map predicted on another grid"
    path = first_of(pair.prediction or pair.label)
    if turned.array.shape != label.array.shape:
        raise InputError(path, wanted, f"{got}, shape {pred.array.shape}")
    distance = corner_distance_mm(turned, label, label.array.shape)
    if not distance <= GRID_TOLERANCE_MM:
        steps = [f"{'×'.join(f'{step:.4g}' for step in one.spacing)} mm" for one in (turned, label)]
        spacing = "" if steps[0] == steps[1] else f", spacing {steps[0]} against {steps[1]}"
        far = f"corners up to {distance:.3g} mm away, more than {GRID_TOLERANCE_MM} mm{spacing}"
        raise InputError(path, wanted, f"{got}, {far}")
    return turned


def _check_values(path: Path, volume: Volume, labels: Mapping[str, LabelValue]) -> None:
    named = {value for values in labels.values() for value in values_of(values)}
    try:
        unknown = sorted(bounding_boxes(volume.array).keys() - named)
    except ValueError as error:
        raise InputError(path, "label values", str(error)) from None
    if unknown:
        told = ", ".join(f"{o}={'+'.join(map(str, values_of(v)))}" for o, v in labels.items())
        found = ", ".join(map(str, unknown[:10]))
        raise InputError(path, f"the values {told}", f"also {found}, which no organ has")


def _refuse_unknown(kind: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"{kind}: expected some of {', '.join(known)}, got {', '.join(unknown)}")


def first_of(source: Source) -> Path:
    """The file that stands for a source in messages."""
    return source[0] if isinstance(source, tuple) else source


def plain_path(source: Source) -> str | list[str]:
    """A source as JSON has it."""
    if isinstance(source, tuple):
        return [str(path.resolve()) for path in source]
    return str(source.resolve())


def plain_value(value: LabelValue) -> int | list[int]:
    """An organ's value as JSON has it: a number, or a list of them for a region."""
    return value if isinstance(value, int) else list(value)


def _sha256(source: Source) -> str:
    if isinstance(source, tuple):
        return hashlib.sha256("".join(map(sha256, source)).encode()).hexdigest()
    return sha256(source)
