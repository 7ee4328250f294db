"""The results per organ as plain rows of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.evaluation.summary import STATUSES

HEADER = [
    "organ",
    "DSC",
    "HD95 mm (pooled)",
    "HD95 mm (pooled, scored only)",
    "HD95 mm (directed)",
    "n",
    "scored",
    "missed",
    "false pos.",
    "absent",
]
NOTHING = "–"


def rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and one row per organ, then the mean over organs.

    DSC and HD95 are means over the ``n`` cases where the organ is in truth or prediction, a
    missed or invented organ counting as DSC 0 and as the image diagonal; "scored only" leaves
    these out and is over the cases that the column "scored" counts.

    Args:
        results: What ``results.json`` holds.

    Returns:
        The header and the rows, every cell as text; an en dash where there is no figure.
    """
    summary = results["summary"]
    body = [_organ_row(organ, entry) for organ, entry in summary["organs"].items()]
    mean, counts = summary["mean"], summary["counts"]
    figures = [_text(mean["dsc"], 3)]
    figures += [_text(mean[name], 2) for name in ("hd95", "hd95_scored", "hd95_directed")]
    organs = summary["mean_coverage"]["dsc"]
    body.append([f"mean of {organs} organ{'s' * (organs != 1)}", *figures, *_counts(counts)])
    return list(HEADER), body


def _organ_row(organ: str, entry: Mapping[str, Any]) -> list[str]:
    pooled, directed = entry["hd95"], entry["hd95_directed"]
    distances = (pooled["mean"], pooled["mean_scored"], directed["mean"])
    figures = [_text(entry["dsc"]["mean"], 3), *(_text(value, 2) for value in distances)]
    return [organ, *figures, *_counts(entry["counts"])]


def _counts(counts: Mapping[str, int]) -> Sequence[str]:
    counted = sum(counts.values()) - counts["absent"]
    return [str(counted), *(str(counts[status]) for status in STATUSES)]


def _text(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
