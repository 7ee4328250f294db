"""Which figures a results file holds, and how a page names and prints them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

DIGITS = {"1": 3, "mm": 2, "ml": 2, "lesions": 1}
UNNAMED = ("", "1", "lesions")  # units that a heading need not repeat
HEAD = ("dsc", "hd95", "hd95_directed")  # what readers look for first
VOLUMES = {  # told by every organ even where a file's list of metrics leaves them out
    "volume_label_ml": "Volume, truth",
    "volume_pred_ml": "Volume, prediction",
}
FULL_SHADE_BELOW = 0.5  # the score at which the colour of a table cell is strongest


@dataclass(frozen=True)
class Figure:
    """One metric of the results.

    Attributes:
        key: Its name in ``results.json``.
        name: Its name for people.
        unit: ``"1"`` for a share or a count, else the unit.
        better: ``"higher"``, ``"lower"`` or ``"none"``.
        convention: How it is computed, in the words of the results.
        headline: Whether its mean counts a missed organ with the worst value.
    """

    key: str
    name: str
    unit: str
    better: str
    convention: str
    headline: bool

    @property
    def digits(self) -> int:
        """Decimals to print."""
        return DIGITS.get(self.unit, 3)

    @property
    def label(self) -> str:
        """Name and unit, for headings."""
        return self.name if self.unit in UNNAMED else f"{self.name}, {self.unit}"

    def counted(self, entry: Mapping[str, Any], diagonal_mm: float | None) -> float | None:
        """An organ's value as the headline counts it: the worst where it was missed or invented."""
        if entry["status"] in ("missed", "false_positive") and self.headline:
            return 0.0 if self.better == "higher" else diagonal_mm
        return entry.get(self.key)


def figures_of(results: Mapping[str, Any]) -> list[Figure]:
    """The metrics of the results: DSC and HD95, other headlines, then what only describes.

    Within each kind they keep the order of the results. Volumes that only the cases know are last.
    """
    figures = [
        Figure(
            key,
            str(metric.get("name", key)),
            str(metric.get("unit", "1")),
            str(metric.get("better", "none")),
            str(metric.get("convention", "")),
            bool(metric.get("headline", True)),
        )
        for key, metric in results["metrics"].items()
    ]
    head = {key: place for place, key in enumerate(HEAD)}
    figures.sort(key=lambda one: (not one.headline, head.get(one.key, len(HEAD))))
    known = {figure.key for figure in figures}
    entries = [entry for case in results["cases"] for entry in case["organs"].values()]
    figures += [
        Figure(key, name, "ml", "none", "", headline=False)
        for key, name in VOLUMES.items()
        if key not in known and any(entry.get(key) is not None for entry in entries)
    ]
    return figures


def of_key(figures: Iterable[Figure], key: str) -> Figure | None:
    """The figure of that key, if the results have it."""
    return next((figure for figure in figures if figure.key == key), None)


def shade(figure: Figure, value: float | None, largest: float) -> int:
    """How strong the colour of a table cell is, in percent: none where nothing is better.

    Args:
        figure: The metric.
        value: The cell's value.
        largest: The largest value of the metric, for those where lower is better.
    """
    if value is None or not math.isfinite(value) or figure.better == "none":
        return 0
    if figure.better == "higher":
        return round(70 * min(1.0, max(0.0, 1 - value) / (1 - FULL_SHADE_BELOW)))
    return round(70 * value / largest) if largest > 0 else 0
