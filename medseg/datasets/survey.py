"""What a data set's folder holds, faults included: the ground of ``cases`` and of ``check``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.case import Case
from medseg.datasets.problems import Problem
from medseg.errors import InputError, UsageError
from medseg.volumes import suffix_of

SHOWN = 10


@dataclass(frozen=True)
class Survey:
    """The cases of a folder, and what does not fit.

    Attributes:
        dataset: Name of the layout, as the module that read it.
        root: The folder.
        splits: Split → its cases; one split ``"all"`` where the layout has none of its own.
        rest: Cases that belong to no split.
        lone_labels: Label files without an image.
        problems: What is wrong with names, lists and partners; no volume has been read.
    """

    dataset: str
    root: Path
    splits: Mapping[str, Sequence[Case]]
    rest: Sequence[Case] = ()
    lone_labels: Sequence[Path] = ()
    problems: Sequence[Problem] = field(default_factory=list)

    def cases(self, split: str) -> list[Case]:
        """The cases of a split, or of all splits for ``"all"``.

        Raises:
            UsageError: If there is no such split.
            InputError: If a case of it is missing or incomplete; up to ten are listed.
        """
        if split != "all" and split not in self.splits:
            known = ", ".join(sorted({*self.splits, "all"}))
            raise UsageError(f"{self.root}: no split {split!r}; there are {known}")
        refuse(self.root, [problem for problem in self.problems if _spoils(problem, split)])
        if split != "all":
            return list(self.splits[split])
        every = [case for cases in self.splits.values() for case in cases] + list(self.rest)
        return list({case.case_id: case for case in every}.values())


def refuse(root: Path, problems: Sequence[Problem]) -> None:
    """Raise an InputError that lists the problems, if there are any."""
    if not problems:
        return
    shown = "; ".join(f"{p.path} ({p.kind}: {p.got})" for p in problems[:SHOWN])
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    got = f"{len(problems)} fault{'s' if len(problems) > 1 else ''}: {shown}{more}"
    raise InputError(root, "every case complete", got, hint=f"see `medseg check {root}`")


def volumes_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """The volume files of a folder, sorted; hidden ones and macOS's ``._`` files are left out."""
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(
        path
        for path in found
        if suffix_of(path) and not _hidden(path.relative_to(folder)) and path.is_file()
    )


def folder_of(root: str | Path, wanted: str) -> Path:
    """``root`` as a path.

    Raises:
        InputError: If it is no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(root, wanted, "a file" if root.exists() else "no such folder")
    return root


def surplus(files: Iterable[Path], listed: Iterable[Path], list_name: str) -> list[Problem]:
    """One problem for each file that a list does not name."""
    known = set(listed)
    wanted = f"only files that {list_name} names"
    return [
        Problem("surplus-file", str(path), wanted, "one more")
        for path in files
        if path not in known
    ]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _spoils(problem: Problem, split: str) -> bool:
    if problem.kind == "case-missing":  # a published split is whole or it is not that split
        return problem.split == split
    return problem.severity == "error" and (split == "all" or problem.split in ("", split))
