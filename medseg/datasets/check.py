"""Look through a data set for whatever would spoil training or falsify a score.

Every file is read once and whole. Images and labels must share their grid to within a tolerance
in millimetres, measured where an error of the geometry shows most: at the corners of the volume.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.case import Case, Source, read_cases
from medseg.datasets import acdc, decathlon, folder, synapse, synapse_preprocessed
from medseg.datasets.check_case import Examined, Task, examine
from medseg.datasets.check_set import set_problems
from medseg.datasets.labels import Labels
from medseg.datasets.problems import Problem, Severity
from medseg.datasets.survey import Survey, folder_of
from medseg.errors import InputError, UsageError
from medseg.jobs import Progress, run_each, silent

LAYOUTS: dict[str, Callable[[str | Path], Survey]] = {
    "decathlon": decathlon.survey,
    "synapse": synapse.survey,
    "synapse_preprocessed": synapse_preprocessed.survey,
    "acdc": acdc.survey,
    "folder": folder.survey,
}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Key = tuple[str, Source | None, Source | None]
Cases = Sequence[Case] | Mapping[str, Sequence[Case]]


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        dataset: The layout, or ``"cases"`` for a list of cases.
        problems: Errors first, then warnings and notes; within them by file.
        cases: What was found in each case, in the order of the data set.
    """

    dataset: str
    problems: Sequence[Problem]
    cases: Sequence[Examined]

    @property
    def ok(self) -> bool:
        """Whether nothing must be mended; warnings and notes do not count."""
        return not any(problem.severity == "error" for problem in self.problems)

    def to_plain(self) -> dict[str, Any]:
        """As plain data for JSON."""
        severities = [problem.severity for problem in self.problems]
        return {
            "dataset": self.dataset,
            "ok": self.ok,
            "num_cases": len(self.cases),
            "counts": {severity: severities.count(severity) for severity in SEVERITIES},
            "problems": [problem.to_plain() for problem in self.problems],
            "cases": [case.to_plain() for case in self.cases],
        }


def check(
    root_or_cases: str | Path | Cases,
    *,
    dataset: str | None = None,
    labels: str | Path | Labels | None = None,
    workers: int = 1,
    tolerance_mm: float = 0.01,
    progress: Progress = silent,
) -> CheckReport:
    """Read a data set whole and report what is wrong with it.

    Args:
        root_or_cases: The data set's folder, a case list in JSON, cases, or split → cases.
        dataset: Its layout (``decathlon``, ``synapse``, ``synapse_preprocessed``, ``acdc``,
            ``folder``); default: recognised by what lies in the folder.
        labels: Organ → value, or a JSON file with it, for the layout ``folder``.
        workers: Processes that read side by side; each holds one case at a time.
        tolerance_mm: How far the corners of a label may lie from those of its image.
        progress: Told after every case.

    Raises:
        InputError: If there is no such folder, or no layout fits it.
        UsageError: If ``dataset`` is no layout or ``tolerance_mm`` is negative.
    """
    if not tolerance_mm >= 0:
        raise UsageError(f"tolerance_mm must be 0 or more, got {tolerance_mm}")
    found = _survey(root_or_cases, dataset, labels)
    tasks = _tasks(found, tolerance_mm)
    examined, problems = _examine(tasks, workers, progress)
    cases = [result for result in examined if result.case_id]
    problems = [
        *found.problems,
        *problems,
        *(problem for result in examined for problem in result.problems),
        *set_problems(str(found.root), found.splits, found.rest, cases),
    ]
    return CheckReport(found.dataset, _sorted(problems), cases)


def recognise(root: str | Path) -> str:
    """The layout of a folder, by what lies in it.

    Raises:
        InputError: If it is no folder.
    """
    root = folder_of(root, "the folder of a data set")
    if (root / "dataset.json").is_file():
        return "decathlon"
    if any((root / name / "img").is_dir() for name in ("RawData/Training", "Training")):
        return "synapse"
    if (root / "train_npz").is_dir() or (root / "test_vol_h5").is_dir():
        return "synapse_preprocessed"
    if any(next((root / name).glob("patient*/Info.cfg"), None) for name in acdc.LAYOUTS):
        return "acdc"
    return "folder"


def _survey(
    source: str | Path | Cases, dataset: str | None, labels: str | Path | Labels | None
) -> Survey:
    if isinstance(source, Mapping):
        return Survey("cases", Path("cases"), source)
    if not isinstance(source, str | Path):
        return Survey("cases", Path("cases"), {"all": list(source)})
    path = Path(source)
    if path.suffix == ".json":
        return Survey("cases", path, {"all": read_cases(path)})
    name = dataset or recognise(path)
    if name not in LAYOUTS:
        raise UsageError(f"dataset must be one of {', '.join(LAYOUTS)}, got {name!r}")
    if name == "folder":
        return folder.survey(path, labels=labels)
    if labels is not None:
        raise InputError(path, "labels for a folder of pairs only", f"labels for {name}")
    return LAYOUTS[name](path)


def _tasks(found: Survey, tolerance_mm: float) -> list[Task]:
    """Each case once, however many splits name it; then the labels without an image."""
    every = [case for cases in found.splits.values() for case in cases] + list(found.rest)
    unique = {_key(case): case for case in every}
    tasks = [Task(c.case_id, c.image, c.label, c.labels, tolerance_mm) for c in unique.values()]
    labels = every[0].labels if every else {}
    return tasks + [Task("", None, path, labels, tolerance_mm) for path in found.lone_labels]


def _examine(
    tasks: Sequence[Task], workers: int, progress: Progress
) -> tuple[list[Examined], list[Problem]]:
    """Examine every case, in the order of the tasks; what could not be becomes a problem."""
    results: dict[Key, Examined] = {}
    problems: list[Problem] = []
    progress("Checking cases", 0, len(tasks))
    for done, outcome in enumerate(run_each(examine, tasks, workers=workers), start=1):
        task = outcome.item
        name = task.case_id or str(task.label)
        if outcome.error is None:
            results[_key(task)] = outcome.unwrap()
        else:
            got = str(outcome.error)
            problems.append(Problem("not-examined", name, "a look at it", got, task.case_id))
        progress("Checking cases", done, len(tasks), name)
    return [results[_key(task)] for task in tasks if _key(task) in results], problems


def _key(item: Case | Task) -> Key:
    return item.case_id, item.image, item.label


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    """Worst first, each said once: a survey and the whole may come upon the same."""
    once = {(p.kind, p.path, p.case_id): p for p in reversed(list(problems))}
    rank = {severity: index for index, severity in enumerate(SEVERITIES)}
    return sorted(once.values(), key=lambda p: (rank[p.severity], p.path, p.kind, p.case_id))
