"""Splits of a case list: named in a file, or drawn reproducibly with patients kept together."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.case import Case
from medseg.datasets.problems import Problem
from medseg.errors import InputError, UsageError
from medseg.files import read_json

SPLIT_FILES = ("splits.json", "splits_final.json")
Splits = Mapping[str, Sequence[str]]


def find_splits(root: Path, splits: str | Path | Splits | None, fold: int) -> Splits | None:
    """The splits given, or those of a split file in the folder, or None.

    Args:
        root: The data set's folder, searched for ``splits.json`` and ``splits_final.json``.
        splits: Split → case ids, or the path of a file with them.
        fold: Which entry of a file that lists several divisions.
    """
    if splits is None:
        found = [root / name for name in SPLIT_FILES if (root / name).is_file()]
        return read_splits(found[0], fold) if found else None
    if isinstance(splits, Mapping):
        return splits
    return read_splits(splits, fold)


def read_splits(path: str | Path, fold: int = 0) -> dict[str, list[str]]:
    """Read ``{"train": [case ids], "val": [...], ...}``, or nnU-Net's list of such divisions.

    Raises:
        InputError: If the file is neither.
        UsageError: If there is no such fold.
    """
    content = read_json(path)
    if isinstance(content, list):
        if not 0 <= fold < len(content):
            raise UsageError(f"{path}: fold must be 0 to {len(content) - 1}, got {fold}")
        content = content[fold]
    named = isinstance(content, dict) and all(isinstance(ids, list) for ids in content.values())
    if not named or not content:
        raise InputError(path, "split names with lists of case ids", repr(content)[:60])
    return {str(name): [str(case_id) for case_id in ids] for name, ids in content.items()}


def apply_splits(
    cases: Sequence[Case], splits: Splits, where: Path
) -> tuple[dict[str, list[Case]], list[Case], list[Problem]]:
    """Divide cases by id; also the cases in no split, and the ids that name no case."""
    by_id = {case.case_id: case for case in cases}
    named = {case_id for ids in splits.values() for case_id in ids}
    problems = [
        Problem("split-unknown-case", str(where), f"a case {case_id!r}", "none", case_id, name)
        for name, ids in splits.items()
        for case_id in ids
        if case_id not in by_id
    ]
    divided = {name: [by_id[i] for i in ids if i in by_id] for name, ids in splits.items()}
    return divided, [case for case in cases if case.case_id not in named], problems


def fold_splits(
    cases: Sequence[Case], *, fold: int = 0, num_folds: int = 5, seed: int = 0
) -> dict[str, list[Case]]:
    """Divide cases into ``train``, ``val`` and ``test``, every patient on one side.

    Fold ``fold`` is the test set, the next one validation, the rest is for training; so over
    all folds each case is tested once, and none is ever validated on in the run that tests it.

    Args:
        cases: In any order: the division depends on their ids, their patients and the seed.
        fold: 0 to ``num_folds - 1``.
        num_folds: At least 3.
        seed: Of the draw.

    Raises:
        UsageError: If the numbers do not fit, or there are fewer patients than folds.
    """
    if num_folds < 3 or not 0 <= fold < num_folds:
        raise UsageError(f"wanted 3 or more folds and fold within, got {fold} of {num_folds}")
    parts = folds(cases, num_folds, seed)
    after = (fold + 1) % num_folds
    train = [case for i, part in enumerate(parts) if i not in (fold, after) for case in part]
    return {"train": _sorted(train), "val": parts[after], "test": parts[fold]}


def folds(cases: Sequence[Case], num_folds: int, seed: int) -> list[list[Case]]:
    """Divide cases into parts of near-equal size, every patient in one part."""
    by_patient: dict[str, list[Case]] = {}
    for case in cases:
        by_patient.setdefault(case.patient, []).append(case)
    if len(by_patient) < num_folds:
        raise UsageError(f"{num_folds} folds want as many patients, got {len(by_patient)}")
    parts: list[list[Case]] = [[] for _ in range(num_folds)]
    for patient in _shuffled(sorted(by_patient), seed):
        min(parts, key=len).extend(by_patient[patient])
    return [_sorted(part) for part in parts]


def hold_out(ids: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Draw ``count`` of the ids reproducibly, sorted; a larger count keeps the smaller's.

    Raises:
        UsageError: If nothing would be left.
    """
    if not 0 <= count < max(len(ids), 1):
        raise UsageError(f"num_val must be 0 to {len(ids) - 1}, got {count}")
    return sorted(_shuffled(sorted(ids), seed)[:count])


def _shuffled(ids: Sequence[str], seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(ids))
    return [ids[index] for index in order]


def _sorted(cases: Sequence[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: case.case_id)
