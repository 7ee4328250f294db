"""The figures of a report, arranged as its tables show them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.report.read import ORGAN, STATUSES

Results = Mapping[str, Any]
NOT_IN_TRUTH = {"status": "not_in_truth", **dict.fromkeys(ORGAN)}


@dataclass(frozen=True)
class Coverage:
    """How many organs of all cases stand behind a figure.

    Attributes:
        scored: Organs found where the truth has them.
        missed: Organs in the truth that the prediction lacks altogether.
        false_positive: Organs predicted where the truth has none.
        absent: Organs in neither, which count for nothing.
    """

    scored: int
    missed: int
    false_positive: int
    absent: int

    @property
    def present(self) -> int:
        """Organs that the truth has."""
        return self.scored + self.missed

    @property
    def counted(self) -> int:
        """Organs that enter the mean figures."""
        return self.scored + self.missed + self.false_positive


@dataclass(frozen=True)
class OrganRow:
    """One row of the table per organ: the summary of ``results.json`` and its coverage."""

    organ: str
    colour: str
    coverage: Coverage
    dsc: Mapping[str, float | None]
    hd95: Mapping[str, float | None]
    hd95_directed: Mapping[str, float | None]


@dataclass(frozen=True)
class CaseRow:
    """One case: its organs as ``results.json`` has them, and their mean DSC.

    An organ that the truth does not name was not compared; its status is ``not_in_truth``.
    """

    case_id: str
    mean_dsc: float | None
    organs: Mapping[str, Mapping[str, Any]]
    source: Mapping[str, Any]

    def having(self, status: str) -> list[str]:
        """The organs of this case that have ``status``."""
        return [organ for organ, entry in self.organs.items() if entry["status"] == status]


def organ_rows(results: Results, colours: Mapping[str, str]) -> list[OrganRow]:
    """One row per organ, in the order of the labels."""
    summary = results["summary"]["organs"]
    return [
        OrganRow(
            organ,
            colours[organ],
            Coverage(*(int(summary[organ]["counts"][status]) for status in STATUSES)),
            dsc=summary[organ]["dsc"],
            hd95=summary[organ]["hd95"],
            hd95_directed=summary[organ]["hd95_directed"],
        )
        for organ in results["labels"]
    ]


def case_rows(results: Results) -> list[CaseRow]:
    """One row per case, in the order of the results."""
    rows = []
    for case in results["cases"]:
        organs = {organ: case["organs"].get(organ, NOT_IN_TRUTH) for organ in results["labels"]}
        scores = [entry["dsc"] for entry in organs.values() if entry["dsc"] is not None]
        mean = statistics.fmean(scores) if scores else None
        rows.append(CaseRow(case["case_id"], mean, organs, case))
    return rows


def overall(rows: Sequence[OrganRow]) -> Coverage:
    """The coverage of all organs together."""
    return Coverage(*(sum(getattr(row.coverage, status) for row in rows) for status in STATUSES))


def worst_and_median(rows: Sequence[CaseRow]) -> dict[str, CaseRow]:
    """The cases to look at, by what they are: ``"Worst case"`` and ``"Median case"``.

    Cases are ranked by their mean DSC over the organs, equal ones by name. Of an even number the
    better of the two middle ones is shown; cases with nothing to measure are left out.
    """
    ranked = sorted(
        (row for row in rows if row.mean_dsc is not None),
        key=lambda row: (row.mean_dsc, row.case_id),
    )
    if not ranked:
        return {}
    if len(ranked) == 1:
        return {"The only case": ranked[0]}
    return {"Worst case": ranked[0], "Median case": ranked[len(ranked) // 2]}
