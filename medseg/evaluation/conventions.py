"""What other programs would print for the same label maps, to compare with what they published.

They differ from each other and from :mod:`medseg.evaluation.summary` in three things: what an
organ counts that is in one label map alone, how distances are pooled, and what is left out of a
mean. Their figures stand in columns of their own, named after the program, and never in ours.

| Dice / HD95 | prediction empty | truth empty | both empty | mean |
|---|---|---|---|---|
| ``transunet`` | 0 / 0 | 1 / 0 | 0 / 0 | of all; HD95 in voxels |
| ``medpy`` | 0 / error | 0 / error | 1 / error | none of its own: of all that have a figure |
| ``monai`` | 0 / nan | nan / nan | nan / nan | nan left out, and 0 if nothing is left |
| ``nnunet`` | 0 / – | 0 / – | nan / – | nan left out |

Sources:
    ``utils.py`` of Beckschen/TransUNet (``calculate_metric_percase``); ``medpy.metric.binary``
    0.5.2; ``monai.metrics`` 1.6.1 with ``ignore_empty=True`` and ``reduction="mean"``;
    ``evaluate_predictions.py`` of nnU-Net 2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.metrics import OrganFigures

NAN = float("nan")
Empty = tuple[float, float, float]  # prediction empty, truth empty, both empty


@dataclass(frozen=True)
class Column:
    """A figure as one program prints it.

    Attributes:
        name: Key in an organ's entry of ``results.json``.
        figure: Which of our figures it equals where both label maps have the organ.
        empty: What it is where the prediction, the truth or both lack the organ.
        in_voxels: Whether the program ignores the spacing.
    """

    name: str
    figure: str
    empty: Empty
    in_voxels: bool = False


CONVENTIONS: Mapping[str, tuple[Column, ...]] = {
    "transunet": (
        Column("transunet_dice", "dsc", (0.0, 1.0, 0.0)),
        Column("transunet_hd95_vox", "hd95", (0.0, 0.0, 0.0), in_voxels=True),
    ),
    "medpy": (
        Column("medpy_dc", "dsc", (0.0, 0.0, 1.0)),
        Column("medpy_hd95_mm", "hd95", (NAN, NAN, NAN)),
    ),
    "monai": (
        Column("monai_dice", "dsc", (0.0, NAN, NAN)),
        Column("monai_hd95_mm", "hd95_directed", (NAN, NAN, NAN)),
    ),
    "nnunet": (Column("nnunet_dice", "dsc", (0.0, 0.0, NAN)),),
}
PLACES = {"missed": 0, "false_positive": 1, "absent": 2}


def column_names(conventions: Sequence[str]) -> list[str]:
    """The keys that these conventions add to an organ's entry."""
    return [column.name for name in conventions for column in CONVENTIONS[name]]


def needed_metrics(conventions: Sequence[str]) -> tuple[list[str], list[str]]:
    """The figures that these conventions rest on: those in mm, and those in voxels."""
    columns = [column for name in conventions for column in CONVENTIONS[name]]
    in_mm = dict.fromkeys(column.figure for column in columns if not column.in_voxels)
    in_voxels = dict.fromkeys(column.figure for column in columns if column.in_voxels)
    return list(in_mm), list(in_voxels)


def columns_of(
    conventions: Sequence[str], in_mm: OrganFigures, in_voxels: OrganFigures
) -> dict[str, float]:
    """The figures of one organ of one case; ``nan`` where the program has none or fails."""
    found = {}
    for column in (column for name in conventions for column in CONVENTIONS[name]):
        figures = in_voxels if column.in_voxels else in_mm
        place = PLACES.get(figures.status)
        found[column.name] = figures[column.figure] if place is None else column.empty[place]
    return found


def means_of(conventions: Sequence[str], results: Mapping[str, Any]) -> dict[str, Any]:
    """Means as each program takes them: convention → column → ``organs`` and ``mean``.

    Args:
        conventions: Names of :data:`CONVENTIONS`.
        results: With ``labels`` and ``cases`` as in ``results.json``.
    """
    return {
        name: {column.name: _means(name, column.name, results) for column in CONVENTIONS[name]}
        for name in conventions
    }


def _means(convention: str, column: str, results: Mapping[str, Any]) -> dict[str, Any]:
    organs = list(results["labels"])
    table = np.array(
        [[_number(case["organs"].get(organ, {}).get(column)) for organ in organs]
         for case in results["cases"]]
    ).reshape(-1, len(organs))  # fmt: skip
    per_organ = [_nanmean(values) for values in table.T]
    if convention == "monai":  # of each case first, then of the cases; 0 stands for nothing
        per_organ = [0.0 if math.isnan(mean) else mean for mean in per_organ]
        overall = _nanmean(np.array([_nanmean(values) for values in table]))
        overall = 0.0 if math.isnan(overall) else overall
    elif convention == "nnunet":  # an organ that no case has spoils the mean
        overall = float(np.mean(per_organ)) if per_organ else NAN
    else:
        overall = _nanmean(np.array(per_organ))
    return {
        "organs": {organ: _null(mean) for organ, mean in zip(organs, per_organ, strict=True)},
        "mean": _null(overall),
    }


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else NAN


def _number(value: float | None) -> float:
    return NAN if value is None else value


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
