"""The results per organ as plain rows of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.evaluation.values import STATUSES

USUAL = ("dsc", "hd95", "hd95_scored", "hd95_directed")
FEW = 5  # figures that fit a line of 80 characters
NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """One figure of the table.

    Attributes:
        key: Metric, with ``_scored`` at its end for the mean over scored organs alone.
        title: With unit and convention.
        short: The same in a few letters.
        digits: After the point.
    """

    key: str
    title: str
    short: str
    digits: int


def columns(metrics: Mapping[str, Mapping[str, Any]]) -> list[Column]:
    """The figures a table shows: all headline metrics if they are few, else DSC and HD95."""
    headline = [key for key, metric in metrics.items() if metric["headline"]]
    if len(headline) > FEW:
        keys = [key for key in USUAL if key.removesuffix("_scored") in headline] or headline[:FEW]
    else:
        keys = [key for name in headline for key in (name, f"{name}_scored")]
        keys = [key for key in keys if key in headline or key == "hd95_scored"]
    return [_column(key, metrics[key.removesuffix("_scored")]) for key in keys]


def rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and one row per organ, then the mean over organs.

    Figures are means over the ``n`` cases where the organ is in truth or prediction, a missed or
    invented organ counting as the worst there is (0, for distances the image diagonal); "scored
    only" leaves these out and is over the cases that the column "scored" counts.

    Args:
        results: What ``results.json`` holds.

    Returns:
        The header and the rows, every cell as text; an en dash where there is no figure.
    """
    summary, shown = results["summary"], columns(results["metrics"])
    header = ["organ", *(column.title for column in shown), "n", "scored", "missed", "false pos."]
    body = [_organ_row(organ, entry, shown) for organ, entry in summary["organs"].items()]
    figures = [_text(summary["mean"][column.key], column.digits) for column in shown]
    organs = max(summary["mean_coverage"].values(), default=0)
    mean = f"mean of {organs} organ{'s' * (organs != 1)}"
    body.append([mean, *figures, *_counts(summary["counts"])])
    return [*header, "absent"], body


def _column(key: str, metric: Mapping[str, Any]) -> Column:
    unit = "" if metric["unit"] == "1" else f" {metric['unit']}"
    name, scored = str(metric["name"]), key.endswith("_scored")
    word, _, rest = name.partition(" (")
    convention = rest.rstrip(")") + ", scored only" * scored
    title = f"{word}{unit}" + (f" ({convention.removeprefix(', ')})" if convention else "")
    detail = "scored" if scored else rest.rstrip(")").replace("pooled", "")
    return Column(key, title, f"{word}\n{detail}".strip(), 3 if metric["unit"] == "1" else 2)


def _organ_row(organ: str, entry: Mapping[str, Any], shown: Sequence[Column]) -> list[str]:
    figures = []
    for column in shown:
        scored = column.key.endswith("_scored")
        means = entry[column.key.removesuffix("_scored")]
        figures.append(_text(means["mean_scored" if scored else "mean"], column.digits))
    return [organ, *figures, *_counts(entry["counts"])]


def _counts(counts: Mapping[str, int]) -> Sequence[str]:
    counted = sum(counts.values()) - counts["absent"]
    return [str(counted), *(str(counts[status]) for status in STATUSES)]


def _text(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
