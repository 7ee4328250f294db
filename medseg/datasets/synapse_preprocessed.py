"""Synapse as TransUNet's authors preprocessed it: windowed slices for training, whole test volumes.

``train_npz/case0005_slice000.npz`` and ``test_vol_h5/case0001.npy.h5`` hold ``image`` and
``label``; the volumes have slices first. Intensities are clipped to [-125, 275] HU and scaled to
[0, 1] already, and there is no geometry: spacing counts as 1 mm, and distances are in voxels.
The lists ``train.txt`` (slices), ``test_vol.txt`` and ``all.lst`` (cases) are used where present.
"""

import re
from pathlib import Path

from medseg.case import Case
from medseg.datasets import synapse
from medseg.datasets.problems import Problem
from medseg.datasets.split import hold_out
from medseg.datasets.survey import Survey, folder_of, surplus, volumes_in
from medseg.errors import InputError, UsageError

LABELS: dict[str, int] = synapse.labels("C")
"""Organ → value in the files."""

SLICE = re.compile(r"(case\d+)_slice(\d+)$")
LISTS = (".", "lists_Synapse", "lists/lists_Synapse", "lists")
VOLUME_SUFFIX = ".npy.h5"


def cases(
    root: str | Path,
    *,
    split: str = "train",
    lists: str | Path | None = None,
    num_val: int = synapse.NUM_VAL,
    seed: int = 0,
) -> list[Case]:
    """The cases of one split; a training case is the tuple of its slices, lowest first.

    Args:
        root: The folder of ``train_npz`` and ``test_vol_h5``.
        split: ``train``, ``val``, ``test`` or ``all``.
        lists: Folder of the lists; default ``lists_Synapse`` or ``lists/lists_Synapse`` below
            the root. Without lists, all files there are count.
        num_val: Training cases set apart for validation, drawn by ``seed``: ``train`` is without
            them and ``val`` is them, so ask for both with one number. The published split has no
            validation cases: 0 gives it, with all 18 in ``train``. Test cases are never drawn.
        seed: Of the draw.

    Raises:
        InputError: If a listed file is missing.
        UsageError: If there is no such split, or ``val`` is asked for with ``num_val=0``.
    """
    if split == "val" and num_val < 1:
        raise UsageError("with num_val=0 there are no validation cases, as in the published split")
    drawn = num_val if split in ("train", "val") else 0
    return survey(root, lists=lists, num_val=drawn, seed=seed).cases(split)


def survey(
    root: str | Path, *, lists: str | Path | None = None, num_val: int = 0, seed: int = 0
) -> Survey:
    """Compare the folder with its lists; what does not fit becomes a problem."""
    root = folder_of(root, "a folder with train_npz and test_vol_h5")
    if not (root / "train_npz").is_dir() and not (root / "test_vol_h5").is_dir():
        raise InputError(root, "train_npz or test_vol_h5", "neither")
    folder = _lists_folder(root, lists)
    slices, problems = _slices(root / "train_npz", _names(folder, "train.txt"))
    train = [Case(i, tuple(files), tuple(files), LABELS) for i, files in slices.items()]
    test, gone = _volumes(root / "test_vol_h5", _names(folder, "test_vol.txt"))
    problems += gone
    known = {case.case_id for case in train + test}
    problems += [
        Problem("case-missing", str(root), f"{name} of all.lst", "no file of it", name)
        for name in sorted({i.removesuffix(VOLUME_SUFFIX) for i in _names(folder, "all.lst") or []})
        if name not in known
    ]
    if not num_val:
        return Survey(
            "synapse_preprocessed", root, {"train": train, "test": test}, (), (), problems
        )
    val_ids = hold_out([case.case_id for case in train], num_val, seed)
    val = [case for case in train if case.case_id in val_ids]
    splits = {"train": [case for case in train if case not in val], "val": val, "test": test}
    return Survey("synapse_preprocessed", root, splits, (), (), problems)


def _lists_folder(root: Path, lists: str | Path | None) -> Path | None:
    if lists is not None:
        return folder_of(lists, "a folder with train.txt and test_vol.txt")
    names = ("train.txt", "test_vol.txt")
    found = [root / name for name in LISTS if any((root / name / x).is_file() for x in names)]
    return found[0] if found else None


def _names(folder: Path | None, name: str) -> list[str] | None:
    if folder is None or not (folder / name).is_file():
        return None
    lines = (folder / name).read_text(encoding="utf-8").split()
    return [line for line in lines if not line.startswith("._")]


def _slices(folder: Path, listed: list[str] | None) -> tuple[dict[str, list[Path]], list[Problem]]:
    """Case → its slices in order; and what is missing, surplus or wrongly named."""
    files = volumes_in(folder) if folder.is_dir() else []
    names = [path.stem for path in files] if listed is None else listed
    wanted = [folder / f"{name.removesuffix('.npz')}.npz" for name in names]
    problems: list[Problem] = []
    numbered: dict[str, dict[int, Path]] = {}
    for path in wanted:
        match = SLICE.search(path.stem)
        case_id = match[1] if match else ""
        if match is None:
            got = f"a name without case and slice: {path.name}"
            problems.append(Problem("metadata", str(path), "caseXXXX_sliceNNN", got))
        elif not path.is_file():
            split = "" if listed is None else "train"
            absent = Problem("missing-file", str(path), "a slice", "none", case_id, split)
            problems.append(absent)
        if match is not None:
            numbered.setdefault(case_id, {})[int(match[2])] = path
    problems += surplus(files, wanted, "train.txt")
    for case_id, by_number in numbered.items():
        problems += _gaps(case_id, by_number)
    ordered = {i: [path for _, path in sorted(numbered[i].items())] for i in sorted(numbered)}
    present = {i: [path for path in paths if path.is_file()] for i, paths in ordered.items()}
    return {case_id: paths for case_id, paths in present.items() if paths}, problems


def _gaps(case_id: str, by_number: dict[int, Path]) -> list[Problem]:
    gaps = sorted(set(range(min(by_number), max(by_number))) - by_number.keys())
    if not gaps:
        return []
    where = str(by_number[min(by_number)].parent)
    got = f"none numbered {', '.join(f'{number:03d}' for number in gaps[:5])}"
    got += f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
    return [Problem("slice-missing", where, f"every slice of {case_id}", got, case_id)]


def _volumes(folder: Path, listed: list[str] | None) -> tuple[list[Case], list[Problem]]:
    files = volumes_in(folder) if folder.is_dir() else []
    ids = [path.name.removesuffix(VOLUME_SUFFIX) for path in files]
    names = ids if listed is None else [name.removesuffix(VOLUME_SUFFIX) for name in listed]
    paths = {name: folder / f"{name}{VOLUME_SUFFIX}" for name in sorted(names)}
    problems = surplus(files, list(paths.values()), "test_vol.txt")
    problems += [
        Problem("missing-file", str(path), "a test volume", "none", name, "test")
        for name, path in paths.items()
        if not path.is_file()
    ]
    return [Case(n, path, path, LABELS) for n, path in paths.items() if path.is_file()], problems
