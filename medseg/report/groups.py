"""Subgroups of the cases, one table per metric: organs down, groups across."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.report.figures import Figure

MEAN = "mean over organs"


@dataclass(frozen=True)
class GroupTable:
    """One metric in every subgroup.

    Attributes:
        figure: The metric.
        groups: Name and number of cases of each.
        rows: Organ, or the mean over organs, and for every group its summary: ``mean``,
            ``ci_low``, ``ci_high`` and ``n``; empty where there is none.
    """

    figure: Figure
    groups: list[tuple[str, int]]
    rows: list[tuple[str, list[Mapping[str, Any]]]]


def group_tables(results: Mapping[str, Any], figures: Sequence[Figure]) -> list[GroupTable]:
    """The tables of a results file's subgroups; none where it has none."""
    groups = (results.get("subgroups") or {}).get("groups") or {}
    parts = list(groups.values())
    tables = []
    for figure in figures:
        rows = [
            (organ, [part["organs"].get(organ, {}).get(figure.key) or {} for part in parts])
            for organ in results["labels"]
        ]
        rows.append((MEAN, [part["mean"].get(figure.key) or {} for part in parts]))
        if any(entry for _, entries in rows for entry in entries):
            sizes = [(str(name), part["cases"]) for name, part in groups.items()]
            tables.append(GroupTable(figure, sizes, rows))
    return tables
