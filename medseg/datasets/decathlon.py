"""Data sets described by a ``dataset.json``: Medical Segmentation Decathlon and nnU-Net v2.

The Decathlon lists every pair in ``training`` and writes labels as ``{"1": "liver"}``; nnU-Net v2
lists none, writes ``{"background": 0, "liver": 1}`` and closes image names with a channel
(``_0000``). Splits come from ``splits.json`` or ``splits_final.json`` beside it, or from folds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.case import Case
from medseg.datasets.folder import Patients, assemble, divide, paired_cases, with_patients
from medseg.datasets.labels import label_map
from medseg.datasets.pairing import Pairs, lone_image, lone_label, name_of, pair
from medseg.datasets.problems import Problem
from medseg.datasets.split import Splits, find_splits
from medseg.datasets.survey import Survey, folder_of, surplus, volumes_in
from medseg.errors import InputError
from medseg.files import read_json
from medseg.volumes import stem_of, suffix_of

FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))


def cases(
    root: str | Path,
    *,
    split: str = "train",
    splits: str | Path | Splits | None = None,
    patients: Patients | None = None,
    channel: int = 0,
    fold: int = 0,
    num_folds: int = 5,
    seed: int = 0,
) -> list[Case]:
    """The cases of one split, with the label map of ``dataset.json``.

    Args:
        root: The folder of ``dataset.json``.
        split: ``train``, ``val``, ``test``, ``all`` (every labelled case), ``unlabelled`` (the
            Decathlon's ``test`` list, nnU-Net's ``imagesTs``), or a name from the split file.
        splits: Split → case ids, or a file with them; default the split file in the folder,
            else folds (see :func:`medseg.datasets.split.fold_splits`).
        patients: Case id → patient, or a JSON file with it; default: each case its own.
        channel: Which image of a case that has several (``_0000``, ``_0001``).
        fold: Which fold is the test set; with ``splits_final.json``, which entry.
        num_folds: Into how many parts the patients are divided.
        seed: Of the division.

    Raises:
        InputError: If ``dataset.json`` does not describe the folder, or cases are incomplete.
        UsageError: If the split or the folds do not fit.
    """
    root = folder_of(root, "a folder with dataset.json")
    if split == "unlabelled":
        return _unlabelled(root, _description(root), channel)
    found = survey(root, splits=splits, patients=patients, channel=channel, fold=fold)
    return divide(found, split, fold=fold, num_folds=num_folds, seed=seed)


def survey(
    root: str | Path,
    *,
    splits: str | Path | Splits | None = None,
    patients: Patients | None = None,
    channel: int = 0,
    fold: int = 0,
) -> Survey:
    """Compare the folder with its ``dataset.json``; what does not fit becomes a problem."""
    root = folder_of(root, "a folder with dataset.json")
    description = _description(root)
    labels = label_map(root / "dataset.json", description["labels"])
    if isinstance(description.get("training"), list):
        every, problems = _listed(root, description["training"], channel, labels)
        found, count = Pairs({}), len(description["training"])
    else:
        found = _paired(root, channel)
        every, problems = paired_cases(found, labels), []
        count = len(every)
    problems += _counted(root, description, count)
    named = find_splits(root, splits, fold)
    surveyed = assemble("decathlon", root, with_patients(every, patients), found, named)
    rest, problems = list(surveyed.rest), [*problems, *surveyed.problems]
    return Survey("decathlon", root, surveyed.splits, rest, surveyed.lone_labels, problems)


def _description(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("labels"), Mapping):
        raise InputError(path, "a description with 'labels'", repr(content)[:60])
    return content


def _listed(
    root: Path, training: list[Any], channel: int, labels: Mapping[str, int]
) -> tuple[list[Case], list[Problem]]:
    """The cases that the Decathlon's list names, and what is wrong with the list."""
    every: list[Case] = []
    problems: list[Problem] = []
    listed: list[Path] = []
    for entry in training:
        if not isinstance(entry, Mapping) or not {"image", "label"} <= entry.keys():
            wanted, where = "entries with 'image' and 'label'", str(root / "dataset.json")
            problems.append(Problem("metadata", where, wanted, repr(entry)[:60]))
            continue
        if Path(str(entry["image"])).name.startswith("._"):
            continue
        outside = [str(entry[key]) for key in ("image", "label") if _climbs(str(entry[key]))]
        if outside:
            where, wanted = str(root / "dataset.json"), "paths inside the folder"
            problems.append(Problem("path-outside", where, wanted, outside[0]))
            continue
        image = _image(root / str(entry["image"]), channel)
        label = root / str(entry["label"])
        listed += [image, label]
        problems += _missing(image, label)
        if image.is_file():
            case_id = stem_of(label)
            every.append(Case(case_id, image, label if label.is_file() else None, labels))
    files = [file for folder in {path.parent for path in listed} for file in _volumes(folder)]
    return every, problems + surplus(sorted(files), listed, "dataset.json")


def _missing(image: Path, label: Path) -> Iterator[Problem]:
    case_id = stem_of(label)
    if not image.is_file() and label.is_file():
        yield lone_label(label, case_id)
    elif image.is_file() and not label.is_file():
        yield lone_image(image, case_id)
    elif not image.is_file():
        yield Problem("missing-file", str(image), "a file, as listed", "no such file", case_id)


def _climbs(written: str) -> bool:
    """Whether a path in ``dataset.json`` leads out of the folder; links in it are the user's."""
    path = PurePosixPath(written.replace("\\", "/"))
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute() or ":" in (path.parts[0] if path.parts else "")


def _image(path: Path, channel: int) -> Path:
    """The image listed, or nnU-Net's file of one channel that stands for it."""
    suffix = suffix_of(path)
    one = path.with_name(f"{stem_of(path)}_{channel:04d}{suffix}")
    return one if not path.is_file() and one.is_file() else path


def _paired(root: Path, channel: int) -> Pairs:
    folders = [names for names in FOLDERS if (root / names[0]).is_dir()]
    if not folders:
        raise InputError(root, "imagesTr and labelsTr, or a 'training' list", "neither")
    first, second = root / folders[0][0], root / folders[0][1]
    images, labels = _of_channel(_volumes(first), channel), _volumes(second)
    return pair(
        {path: name_of(path, first).removesuffix(f"_{channel:04d}") for path in images},
        {path: name_of(path, second) for path in labels},
    )


def _of_channel(images: list[Path], channel: int) -> list[Path]:
    of_channel = [path for path in images if stem_of(path).endswith(f"_{channel:04d}")]
    return of_channel or images


def _unlabelled(root: Path, description: dict[str, Any], channel: int) -> list[Case]:
    labels = label_map(root / "dataset.json", description["labels"])
    if not isinstance(description.get("training"), list):
        images = _of_channel(_volumes(root / "imagesTs"), channel)
        ids = [stem_of(path).removesuffix(f"_{channel:04d}") for path in images]
        return [Case(i, path, None, labels) for i, path in zip(ids, images, strict=True)]
    written = [e["image"] if isinstance(e, dict) else str(e) for e in description.get("test", [])]
    for path in written:
        if _climbs(path):
            raise InputError(root / "dataset.json", "paths inside the folder", path)
    return [
        Case(stem_of(path), _image(root / path, channel), None, labels)
        for path in written
        if not Path(path).name.startswith("._")
    ]


def _volumes(folder: Path) -> list[Path]:
    return volumes_in(folder) if folder.is_dir() else []


def _counted(root: Path, description: dict[str, Any], count: int) -> list[Problem]:
    wanted = description.get("numTraining", count)
    if wanted == count:
        return []
    where = str(root / "dataset.json")
    return [Problem("count-differs", where, f"numTraining {wanted}", f"{count} cases")]
