"""BTCV, known as Synapse: abdominal CT with thirteen organs, as the challenge hands it out.

``RawData/Training/img/img0001.nii.gz`` and ``RawData/Training/label/label0001.nii.gz``. The split
into 18 training and 12 test cases is TransUNet's (Chen et al., arXiv:2102.04306).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.case import Case
from medseg.datasets.pairing import lone_image, lone_label
from medseg.datasets.problems import Problem
from medseg.datasets.split import hold_out
from medseg.datasets.survey import Survey, folder_of, volumes_in
from medseg.errors import InputError, UsageError
from medseg.volumes import stem_of

LABELS: dict[str, int] = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior vena cava": 9,
    "portal and splenic vein": 10,
    "pancreas": 11,
    "right adrenal gland": 12,
    "left adrenal gland": 13,
}
"""Organ → value in the label files."""

REMAPS: dict[str, tuple[str, ...]] = {
    "A": (
        "spleen",
        "right kidney",
        "left kidney",
        "gallbladder",
        "liver",
        "stomach",
        "aorta",
        "pancreas",
    ),
    "B": (
        "spleen",
        "right kidney",
        "left kidney",
        "gallbladder",
        "pancreas",
        "liver",
        "stomach",
        "aorta",
    ),
    "C": (
        "aorta",
        "gallbladder",
        "left kidney",
        "right kidney",
        "liver",
        "pancreas",
        "spleen",
        "stomach",
    ),
}
"""Orders of the eight organs in public use; values are 1 to 8. A is the most common, B CASCADE's,
C that of TransUNet's preprocessed files."""

TRAIN_IDS = (5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40)
TEST_IDS = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)
NUM_VAL = 3
"""Training cases set apart for validation unless one says otherwise."""

LAYOUTS = ("RawData/Training", "Training", ".")


def labels(remap: str | Sequence[str] | Mapping[str, int] = "A") -> dict[str, int]:
    """Organ → value in the output of a model or an experiment.

    Args:
        remap: ``"A"``, ``"B"``, ``"C"``; or organs of :data:`LABELS` in the order wanted, which
            are numbered from 1; or a map from organ to value.

    Raises:
        UsageError: If an organ is unknown, or a value is not positive or comes twice.
    """
    if isinstance(remap, str):
        if remap not in REMAPS:
            raise UsageError(f"remap must be one of {', '.join(REMAPS)}, got {remap!r}")
        remap = REMAPS[remap]
    if not isinstance(remap, Mapping):
        if len(set(remap)) != len(remap):
            raise UsageError(f"remap names an organ twice: {list(remap)}")
        remap = {organ: value for value, organ in enumerate(remap, start=1)}
    unknown = [organ for organ in remap if organ not in LABELS]
    if unknown or not remap:
        raise UsageError(f"remap wants organs of {', '.join(LABELS)}; got {unknown or 'none'}")
    values = list(remap.values())
    if min(values) < 1 or len(set(values)) != len(values):
        raise UsageError(f"remap wants different values from 1 on, got {values}")
    return dict(remap)


def cases(
    root: str | Path, *, split: str = "train", num_val: int = NUM_VAL, seed: int = 0
) -> list[Case]:
    """The cases of one split, with all thirteen organs named.

    Args:
        root: The folder of ``RawData``, or ``RawData/Training`` itself.
        split: ``train``, ``val``, ``test`` or ``all``.
        num_val: Training cases set apart for validation, drawn by ``seed``: ``train`` is without
            them and ``val`` is them, so ask for both with one number. The published split has no
            validation cases: 0 gives it, with all 18 in ``train``. Test cases are never drawn.
        seed: Of the draw.

    Raises:
        InputError: If a case of the split is missing or incomplete.
        UsageError: If there is no such split, or ``val`` is asked for with ``num_val=0``.
    """
    if split == "val" and num_val < 1:
        raise UsageError("with num_val=0 there are no validation cases, as in the published split")
    drawn = num_val if split in ("train", "val") else 0
    return survey(root, num_val=drawn, seed=seed).cases(split)


def survey(root: str | Path, *, num_val: int = 0, seed: int = 0) -> Survey:
    """Compare the folder with the published cases; what does not fit becomes a problem."""
    root = folder_of(root, "a folder with RawData/Training")
    bases = [root / name for name in LAYOUTS if (root / name / "img").is_dir()]
    if not bases:
        raise InputError(root, "RawData/Training/img and label", "no folder img")
    images = _by_id(bases[0] / "img", "img")
    truths = _by_id(bases[0] / "label", "label")
    split_of = {case_id: name for name, ids in split_ids(num_val, seed).items() for case_id in ids}
    splits: dict[str, list[Case]] = {name: [] for name in split_ids(num_val, seed)}
    problems: list[Problem] = []
    rest: list[Case] = []
    for case_id in sorted(images.keys() | truths.keys() | split_of.keys()):
        split = split_of.get(case_id, "")
        image, truth = images.get(case_id), truths.get(case_id)
        if image is None:
            where = str(bases[0] / "img" / f"img{case_id.removeprefix('case')}.nii.gz")
            gone = Problem("case-missing", where, f"a case of {split}", "none", case_id, split)
            problems.append(gone if truth is None else lone_label(truth, case_id, split))
            continue
        if truth is None:
            problems.append(lone_image(image, case_id, split))
        (splits[split] if split else rest).append(Case(case_id, image, truth, LABELS))
    lone = [truth for case_id, truth in truths.items() if case_id not in images]
    return Survey("synapse", root, splits, rest, lone, problems)


def split_ids(num_val: int = 0, seed: int = 0) -> dict[str, list[str]]:
    """Split → case ids (``case0005``); without ``val`` if ``num_val`` is 0."""
    train, test = ([f"case{number:04d}" for number in ids] for ids in (TRAIN_IDS, TEST_IDS))
    val = hold_out(train, num_val, seed)
    rest = [case_id for case_id in train if case_id not in val]
    return {"train": rest, "val": val, "test": test} if val else {"train": rest, "test": test}


def _by_id(folder: Path, prefix: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {
        f"case{stem_of(path).removeprefix(prefix)}": path
        for path in volumes_in(folder)
        if stem_of(path).startswith(prefix)
    }
