"""The figures of a report, arranged as its tables show them."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.report.figures import Figure
from medseg.report.read import STATUSES

Results = Mapping[str, Any]
NOT_IN_TRUTH = {"status": "not_in_truth"}


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
    """One row of the table per organ: the summary of ``results.json`` and its coverage.

    ``figures`` has for each metric of the summary its ``mean``, ``median`` and so on.
    """

    organ: str
    colour: str
    coverage: Coverage
    figures: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class CaseRow:
    """One case: its organs as ``results.json`` has them, and its figures over all organs.

    An organ that the truth does not name was not compared; its status is ``not_in_truth``.

    Attributes:
        case_id: Its name.
        number: Its place in the results, from 0.
        means: Metric → mean over the organs, misses counted with the worst value; of what only
            describes (volumes, numbers of lesions) the sum.
        organs: Organ → entry in the results.
        source: The case's own entry.
    """

    case_id: str
    number: int
    means: Mapping[str, float | None]
    organs: Mapping[str, Mapping[str, Any]]
    source: Mapping[str, Any]

    @property
    def mean_dsc(self) -> float | None:
        """The mean DSC over the organs, by which cases are ranked."""
        return self.means.get("dsc")

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
            {key: part for key, part in summary[organ].items() if key != "counts"},
        )
        for organ in results["labels"]
    ]


def case_rows(results: Results, figures: Sequence[Figure]) -> list[CaseRow]:
    """One row per case, in the order of the results."""
    rows = []
    for number, case in enumerate(results["cases"]):
        organs = {organ: case["organs"].get(organ, NOT_IN_TRUTH) for organ in results["labels"]}
        diagonal = case.get("diagonal_mm")
        means = {figure.key: _over_organs(figure, organs.values(), diagonal) for figure in figures}
        rows.append(CaseRow(case["case_id"], number, means, organs, case))
    return rows


def _over_organs(
    figure: Figure, entries: Iterable[Mapping[str, Any]], diagonal_mm: float | None
) -> float | None:
    counted = [figure.counted(entry, diagonal_mm) for entry in entries]
    known = [value for value in counted if value is not None]
    if not known:
        return None
    return statistics.fmean(known) if figure.better != "none" else sum(known)


def overall(rows: Sequence[OrganRow]) -> Coverage:
    """The coverage of all organs together."""
    return Coverage(*(sum(getattr(row.coverage, status) for row in rows) for status in STATUSES))


def cases_to_look_at(rows: Sequence[CaseRow]) -> dict[str, CaseRow]:
    """The cases to look at, by what they are: worst, median and best.

    Cases are ranked by their mean DSC over the organs, equal ones by name. Of an even number the
    better of the two middle ones is the median; cases with nothing to measure are left out. Of
    two cases there is no median.
    """
    ranked = sorted(
        (row for row in rows if row.mean_dsc is not None),
        key=lambda row: (row.mean_dsc, row.case_id),
    )
    if not ranked:
        return {}
    if len(ranked) == 1:
        return {"The only case": ranked[0]}
    middle = {"Median case": ranked[len(ranked) // 2]} if len(ranked) > 2 else {}
    return {"Worst case": ranked[0], **middle, "Best case": ranked[-1]}
