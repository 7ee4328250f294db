"""From figures per case and organ to figures per organ: statuses first, then means.

A mean hides what it leaves out. So every organ that is in the truth counts: where it was missed,
and where one was invented, DSC is 0 and HD95 the diagonal of the image, which no distance within
it exceeds. Missing an organ can therefore improve no headline figure. The mean over scored organs
alone stands beside it under its own name, with the number of cases it covers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STATUSES = ("scored", "missed", "false_positive", "absent")
DISTANCES = ("hd95", "hd95_directed")


def summarise(results: Mapping[str, Any]) -> dict[str, Any]:
    """Counts, and the figures of each organ and of their mean.

    Args:
        results: With ``labels``, ``cases`` and ``failures`` as in ``results.json``.

    Returns:
        ``cases`` (scored and failed), ``counts`` of every status over all organs, ``organs``,
        ``mean`` over organs, and ``mean_coverage``: of how many organs each mean is. Figures of
        nothing are ``None``; ``std`` is that of a sample, ``None`` for fewer than two.
    """
    organs = {organ: _of_organ(organ, results["cases"]) for organ in results["labels"]}
    means = {
        "dsc": [entry["dsc"]["mean"] for entry in organs.values()],
        "hd95": [entry["hd95"]["mean"] for entry in organs.values()],
        "hd95_scored": [entry["hd95"]["mean_scored"] for entry in organs.values()],
        "hd95_directed": [entry["hd95_directed"]["mean"] for entry in organs.values()],
        "hd95_directed_scored": [
            entry["hd95_directed"]["mean_scored"] for entry in organs.values()
        ],
    }
    known = {name: [mean for mean in parts if mean is not None] for name, parts in means.items()}
    return {
        "cases": {"scored": len(results["cases"]), "failed": len(results["failures"])},
        "counts": {
            status: sum(entry["counts"][status] for entry in organs.values()) for status in STATUSES
        },
        "organs": organs,
        "mean": {name: _mean(parts) for name, parts in known.items()},
        "mean_coverage": {name: len(parts) for name, parts in known.items()},
    }


def _of_organ(organ: str, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    there = [(case["organs"][organ], case) for case in cases if organ in case["organs"]]
    counted = [(figures, case) for figures, case in there if figures["status"] != "absent"]
    statuses = [figures["status"] for figures, _ in there]
    dsc = [figures["dsc"] for figures, _ in counted]
    entry: dict[str, Any] = {
        "counts": {status: statuses.count(status) for status in STATUSES},
        "dsc": {"mean": _mean(dsc), "median": _median(dsc), "std": _std(dsc), "n": len(dsc)},
    }
    for name in DISTANCES:
        scored = [figures[name] for figures, _ in counted if figures["status"] == "scored"]
        headline = [
            figures[name] if figures["status"] == "scored" else case["diagonal_mm"]
            for figures, case in counted
        ]
        entry[name] = {
            "mean": _mean(headline),
            "mean_scored": _mean(scored),
            "median": _median(headline),
            "n": len(headline),
            "n_scored": len(scored),
        }
    return entry


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
