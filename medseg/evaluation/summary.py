"""From figures per case and organ to figures per organ: statuses first, then means.

A mean hides what it leaves out. So every organ that is in the truth counts: where it was missed,
and where one was invented, the figure is the worst there is: 0, or for distances the diagonal of
the image, which no distance within it exceeds. Missing an organ can therefore improve no headline
figure. The mean over scored organs alone stands beside it under its own name, with the number of
cases it covers. Figures that only describe (volumes, counts of lesions) have no worst value; they
are averaged where they are known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.evaluation.statistics import confidence, confidence_of_mean
from medseg.evaluation.values import STATUSES, headline_values, status_of

Figures = Mapping[str, Any]
Tables = Mapping[str, np.ndarray]


def summarise(results: Mapping[str, Any]) -> dict[str, Any]:
    """Counts, and the figures of each organ and of their mean.

    Args:
        results: With ``labels``, ``metrics``, ``cases`` and ``failures`` as in ``results.json``.

    Returns:
        What :func:`means` gives and ``cases`` (scored and failed). Every mean has its bounds,
        95 % by bootstrap over the cases: ``ci_low`` and ``ci_high`` of each organ and metric,
        ``mean_ci`` of the means over organs; ``None`` for fewer than two cases.
    """
    cases = {"scored": len(results["cases"]), "failed": len(results["failures"])}
    found: dict[str, Any] = {"cases": cases} | means(results)
    organs, metrics = list(found["organs"]), results["metrics"]
    tables = _tables(results)
    low, high = confidence(np.concatenate(list(tables.values()), axis=1))
    columns = [(name, organ) for name in metrics for organ in organs]
    for (name, organ), *bounds in zip(columns, low, high, strict=True):
        least, most = map(_null, bounds)
        found["organs"][organ][name] |= {"ci_low": least, "ci_high": most}
    found["mean_ci"] = {
        name: [_null(bound) for bound in confidence_of_mean(tables[name])]
        for name, metric in metrics.items()
        if metric["headline"]
    }
    return found


def means(results: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a summary without their bounds.

    Returns:
        ``counts`` of every status over all organs; ``organs``; ``mean`` over organs of the means
        over cases (of headline metrics, and under ``<metric>_scored`` of scored organs alone);
        and ``mean_coverage``: of how many organs each mean is. Figures of nothing are ``None``;
        ``std`` is that of a sample, ``None`` for fewer than two.
    """
    metrics, tables = results["metrics"], _tables(results)
    organs = {
        organ: _of_organ(column, organ, results, tables)
        for column, organ in enumerate(results["labels"])
    }
    headline = [name for name, metric in metrics.items() if metric["headline"]]
    parts = {name: [entry[name]["mean"] for entry in organs.values()] for name in headline}
    for name in headline:
        parts[f"{name}_scored"] = [entry[name]["mean_scored"] for entry in organs.values()]
    known = {name: [mean for mean in found if mean is not None] for name, found in parts.items()}
    return {
        "counts": {
            status: sum(entry["counts"][status] for entry in organs.values()) for status in STATUSES
        },
        "organs": organs,
        "mean": {name: _mean(found) for name, found in known.items()},
        "mean_coverage": {name: len(found) for name, found in known.items()},
    }


def _of_organ(column: int, organ: str, results: Figures, tables: Tables) -> dict[str, Any]:
    statuses = [status_of(case, organ) for case in results["cases"]]
    found: dict[str, Any] = {"counts": {status: statuses.count(status) for status in STATUSES}}
    is_scored = np.array([status == "scored" for status in statuses], dtype=bool)
    for name, table in tables.items():
        values = table[:, column]
        counted, scored = values[~np.isnan(values)], values[is_scored & ~np.isnan(values)]
        found[name] = {
            "mean": _mean(counted),
            "mean_scored": _mean(scored),
            "median": float(np.median(counted)) if counted.size else None,
            "std": float(np.std(counted, ddof=1)) if counted.size > 1 else None,
            "n": int(counted.size),
            "n_scored": int(scored.size),
        }
    return found


def _tables(results: Figures) -> Tables:
    """Metric → what each case counts for each organ, (cases, organs); ``nan`` where left out."""
    organs, cases = list(results["labels"]), results["cases"]
    return {
        name: headline_values(cases, organs, name, metric)
        if metric["headline"]
        else _described(cases, organs, name)
        for name, metric in results["metrics"].items()
    }


def _described(cases: Sequence[Figures], organs: Sequence[str], name: str) -> np.ndarray:
    """A figure that only describes, wherever the organ is in one of the label maps."""
    table = np.full((len(cases), len(organs)), np.nan)
    for row, case in enumerate(cases):
        for column, organ in enumerate(organs):
            entry = case["organs"].get(organ, {"status": "absent"})
            value = None if entry["status"] == "absent" else entry[name]
            table[row, column] = np.nan if value is None else value
    return table


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
