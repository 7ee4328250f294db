"""Any folder of image and label files, paired by their names.

``img0001`` and ``label0001``, ``ct_3.nii.gz`` and ``ct_3_seg.nii.gz``, ``liver_0000`` and
``liver``, ``case7/image`` and ``case7/label`` are pairs. The label map comes as an argument or
from ``labels.json`` (organ name to value) in the folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.case import Case
from medseg.datasets.labels import Labels, read_labels
from medseg.datasets.pairing import Pairs, is_label_name, name_of, pair
from medseg.datasets.split import Splits, apply_splits, find_splits, fold_splits
from medseg.datasets.survey import Survey, folder_of, volumes_in
from medseg.errors import InputError
from medseg.files import read_json

FOLDERS = (
    ("images", "labels"),
    ("imagesTr", "labelsTr"),
    ("img", "label"),
    ("image", "label"),
    ("images", "masks"),
    ("images", "segmentations"),
)
Patients = str | Path | Mapping[str, str]


def cases(
    root: str | Path,
    *,
    split: str = "train",
    labels: str | Path | Labels | None = None,
    folders: Sequence[str] | None = None,
    splits: str | Path | Splits | None = None,
    patients: Patients | None = None,
    fold: int = 0,
    num_folds: int = 5,
    seed: int = 0,
) -> list[Case]:
    """Pair the files of a folder and give the cases of one split.

    Args:
        root: The folder.
        split: ``train``, ``val``, ``test``, ``all``, or a name from the split file.
        labels: Organ → value in the label files, or a JSON file with it; default
            ``labels.json`` in the folder, else no names.
        folders: Names of the image and the label folder below ``root``; may be the same.
            Default: the first usual pair there is, else all files below ``root``.
        splits: Split → case ids, or a file with them; default ``splits.json`` in the folder,
            else folds (see :func:`medseg.datasets.split.fold_splits`).
        patients: Case id → patient, or a JSON file with it; default: each case its own.
        fold: Which fold is the test set.
        num_folds: Into how many parts the patients are divided.
        seed: Of the division.

    Raises:
        InputError: If partners are missing or ambiguous; they are listed.
        UsageError: If the split or the folds do not fit.
    """
    found = survey(
        root, labels=labels, folders=folders, splits=splits, patients=patients, fold=fold
    )
    return divide(found, split, fold=fold, num_folds=num_folds, seed=seed)


def survey(
    root: str | Path,
    *,
    labels: str | Path | Labels | None = None,
    folders: Sequence[str] | None = None,
    splits: str | Path | Splits | None = None,
    patients: Patients | None = None,
    fold: int = 0,
) -> Survey:
    """Pair the files of a folder; what has no partner becomes a problem."""
    root = folder_of(root, "a folder of images and labels")
    found = pair(*_files(root, folders))
    every = with_patients(paired_cases(found, read_labels(root, labels)), patients)
    return assemble("folder", root, every, found, find_splits(root, splits, fold))


def paired_cases(found: Pairs, labels: Labels) -> list[Case]:
    """The cases of paired files, and those of images without a label."""
    paired = [Case(i, image, label, labels) for i, (image, label) in found.pairs.items()]
    lone = [Case(case_id, image, None, labels) for case_id, image in found.lone_images.items()]
    return sorted(paired + lone, key=lambda case: case.case_id)


def assemble(
    dataset: str, root: Path, every: Sequence[Case], found: Pairs, splits: Splits | None
) -> Survey:
    """Divide cases by the named splits, if any, and list what has no partner."""
    lone = list(found.lone_labels.values())
    if splits is None:
        return Survey(dataset, root, {"all": list(every)}, (), lone, found.problems())
    divided, rest, unknown = apply_splits(every, splits, root)
    return Survey(dataset, root, divided, rest, lone, found.problems() + unknown)


def divide(found: Survey, split: str, *, fold: int, num_folds: int, seed: int) -> list[Case]:
    """The cases of a split of a survey; of folds where the folder names no splits."""
    if split == "all" or "all" not in found.splits:
        return found.cases(split)
    drawn = fold_splits(found.cases("all"), fold=fold, num_folds=num_folds, seed=seed)
    return Survey(found.dataset, found.root, drawn).cases(split)


def with_patients(every: Sequence[Case], patients: Patients | None) -> list[Case]:
    """The cases with their patients named.

    Raises:
        InputError: If the file does not map case ids to patients.
    """
    if patients is None:
        return list(every)
    known = patients if isinstance(patients, Mapping) else read_json(patients)
    if not isinstance(known, Mapping):
        raise InputError(str(patients), "case ids with their patients", type(known).__name__)
    return [replace(case, patient_id=str(known.get(case.case_id, ""))) for case in every]


def _files(root: Path, folders: Sequence[str] | None) -> tuple[dict[Path, str], dict[Path, str]]:
    """Images and labels below the root, each with the name it is known by."""
    if folders is None:
        usual = [pair for pair in FOLDERS if all((root / name).is_dir() for name in pair)]
        folders = usual[0] if usual else (".", ".")
    if len(folders) != 2:
        raise InputError(root, "folders: the image folder and the label folder", str(folders))
    first, second = (folder_of(root / name, "a folder of volumes") for name in folders)
    images, labels = volumes_in(first, deep=True), volumes_in(second, deep=True)
    if first == second:
        labels = [path for path in images if is_label_name(path)]
        images = [path for path in images if not is_label_name(path)]
    if not images and not labels:
        raise InputError(root, "images and labels", "no volumes")
    return (
        {path: name_of(path, first) for path in images},
        {path: name_of(path, second) for path in labels},
    )
