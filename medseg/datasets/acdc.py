"""ACDC: cine MRI of the heart with the end-diastolic and end-systolic frame labelled.

``training/patient001/patient001_frame01.nii.gz``, ``…_frame01_gt.nii.gz`` and ``Info.cfg``, which
says which frame is which (``ED: 1``, ``ES: 12``) and the pathology (``Group: DCM``). A frame is a
case; both frames of a patient stay on one side of a split.
"""

import re
from pathlib import Path

from medseg.case import Case
from medseg.datasets.pairing import lone_image, lone_label
from medseg.datasets.problems import Problem
from medseg.datasets.survey import Survey, folder_of, surplus, volumes_in
from medseg.errors import InputError, UsageError
from medseg.volumes import stem_of

LABELS: dict[str, int] = {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}
"""Organ → value in the label files."""

PATIENTS = range(1, 101)
SSL4MIS_TEST = (1, 7, 8, 11, 13, 22, 24, 33, 52, 59, 64, 65, 66, 68, 75, 80, 81, 83, 84, 93)
NNFORMER_TEST = (2, 3, 8, 9, 12, 14, 17, 24, 42, 48, 49, 53, 55, 64, 67, 79, 81, 88, 92, 95)
PUBLISHED: dict[str, dict[str, tuple[int, ...]]] = {
    "ssl4mis": {"val": (2, 19, 28, 30, 39, 45, 78, 82, 85, 87), "test": SSL4MIS_TEST},
    "nnformer": {"val": (89, 90, 91, 93, 94, 96, 97, 98, 99, 100), "test": NNFORMER_TEST},
}
"""Patients for validation and test in the two published divisions; the other 70 are for training.
Source: the repositories HiLab-git/SSL4MIS and 282857341/nnFormer."""

LAYOUTS = ("training", "database/training", ".")
FRAME = re.compile(r"^(patient\d+_frame\d+)(_gt)?$")


def cases(root: str | Path, *, split: str = "train", protocol: str = "ssl4mis") -> list[Case]:
    """The frames of one split, 70, 10 and 20 patients with two frames each.

    Args:
        root: The folder of ``training``, or that folder itself.
        split: ``train``, ``val``, ``test`` or ``all``.
        protocol: Whose division: ``"ssl4mis"`` or ``"nnformer"``; figures of the two do not
            compare.

    Raises:
        InputError: If a patient of the split is missing or incomplete.
        UsageError: If there is no such split or protocol.
    """
    return survey(root, protocol=protocol).cases(split)


def survey(root: str | Path, *, protocol: str = "ssl4mis") -> Survey:
    """Compare the folder with the published patients; what does not fit becomes a problem."""
    root = folder_of(root, "a folder with training/patient001")
    bases = [root / name for name in LAYOUTS if any((root / name).glob("patient*/"))]
    if not bases:
        raise InputError(root, "training/patient001", "no patient folders")
    split_of = {patient: name for name, ids in split_ids(protocol).items() for patient in ids}
    splits: dict[str, list[Case]] = {"train": [], "val": [], "test": []}
    problems: list[Problem] = []
    rest: list[Case] = []
    lone: list[Path] = []
    there = {path.name for path in bases[0].glob("patient*") if path.is_dir()}
    for patient in sorted(there | split_of.keys()):
        split = split_of.get(patient, "")
        folder = bases[0] / patient
        if patient not in there:
            wanted = f"a patient of {split}"
            problems.append(Problem("case-missing", str(folder), wanted, "none", patient, split))
            continue
        frames, found, unpaired = _patient(folder, split)
        (splits[split] if split else rest).extend(frames)
        problems += found
        lone += unpaired
    return Survey("acdc", root, splits, rest, lone, problems)


def split_ids(protocol: str = "ssl4mis") -> dict[str, list[str]]:
    """Split → patients (``patient001``) of a published division.

    Raises:
        UsageError: If there is no such division.
    """
    if protocol not in PUBLISHED:
        raise UsageError(f"protocol must be one of {', '.join(PUBLISHED)}, got {protocol!r}")
    published = PUBLISHED[protocol]
    used = {*published["val"], *published["test"]}
    numbers = {"train": [number for number in PATIENTS if number not in used], **published}
    return {name: [f"patient{number:03d}" for number in ids] for name, ids in numbers.items()}


def _patient(folder: Path, split: str) -> tuple[list[Case], list[Problem], list[Path]]:
    """The frames of one patient, what is wrong with them, and labels without an image."""
    info = _read_info(folder / "Info.cfg")
    images, truths = _frames(folder)
    problems: list[Problem] = []
    frames: list[Case] = []
    lone: list[Path] = []
    for phase in ("ED", "ES"):
        number = info.get(phase, "")
        if not number.isdecimal():
            where, wanted = str(folder / "Info.cfg"), f"{phase}: a frame number"
            got = repr(number) if number else "none"
            problems.append(Problem("metadata", where, wanted, got, folder.name, split))
            continue
        case_id = f"{folder.name}_frame{int(number):02d}"
        image, truth = images.pop(case_id, None), truths.pop(case_id, None)
        if image is not None:
            group = {"phase": phase, "pathology": info.get("Group", "")}
            frames.append(Case(case_id, image, truth, LABELS, folder.name, group))
            problems += [] if truth else [lone_image(image, case_id, split)]
        elif truth is not None:
            lone.append(truth)
            problems.append(lone_label(truth, case_id, split))
        else:
            where, wanted = str(folder / f"{case_id}.nii.gz"), f"the {phase} frame"
            problems.append(Problem("missing-file", where, wanted, "none", case_id, split))
    left = sorted([*images.values(), *truths.values()])
    return frames, problems + surplus(left, [], "Info.cfg"), lone


def _frames(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Frame → image, and frame → label, of one patient; the 4D cine is left alone."""
    images: dict[str, Path] = {}
    truths: dict[str, Path] = {}
    for path in volumes_in(folder):
        match = FRAME.match(stem_of(path))
        if match is not None:
            (truths if match[2] else images)[match[1]] = path
    return images, truths


def _read_info(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    entries = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in entries}
