"""Exposures of the Dark Energy Camera (DeCAM) with their cosmic rays, in two layouts.

* deepCR's form: ``.npy`` files of shape (2 or 3, H, W), image, mask and perhaps pixels to ignore,
  with a ``sky.npy`` beside them; ``medseg.datasets.starfield`` writes it too.
* The Community Pipeline's: an image ``…_ooi_….fits`` with its data-quality map ``…_ood_….fits`` in
  the same folder, ``.fits.gz`` and ``.fits.fz`` as well. From version 3.5 of that pipeline on, the
  map holds one code per pixel: 1 bad, 2 no value, 3 saturated, 4 bleed trail, 5 cosmic ray,
  6 low weight, 7 difference detection, 8 long streak.

What the map calls neither good (0) nor a cosmic ray is left out. Maps of older pipelines are sums
of bits and want another ``code``: with the bit of cosmic rays (16), pixels with that bit alone are
cosmic rays, and those with further bits are left out.

Splits come from ``splits.json``, from folders ``train``, ``val`` and ``test``, or from folds, in
which all detectors of one exposure stay together.
"""

from collections.abc import Sequence
from pathlib import Path

from medseg.case import Case
from medseg.datasets.pairing import lone_image, name_of
from medseg.datasets.problems import Problem
from medseg.datasets.split import Splits, apply_splits, find_splits, fold_splits
from medseg.datasets.survey import Survey, folder_of, volumes_in
from medseg.errors import InputError
from medseg.volumes import stem_of, suffix_of
from medseg.volumes.exposure import SKY
from medseg.volumes.fits import FITS

LABELS: dict[str, int] = {"cosmic ray": 1}
"""Class → value in the masks that are written."""

COSMIC_RAY_CODE = 5  # in data-quality maps of the Community Pipeline with one code per pixel
IMAGE_MARK, QUALITY_MARK = "_ooi_", "_ood_"
SPLIT_FOLDERS = ("train", "val", "test")


def cases(
    root: str | Path,
    *,
    split: str = "train",
    code: int = COSMIC_RAY_CODE,
    splits: str | Path | Splits | None = None,
    fold: int = 0,
    num_folds: int = 5,
    seed: int = 0,
) -> list[Case]:
    """The exposures of one split.

    Args:
        root: The folder; exposures may lie in folders below it.
        split: ``train``, ``val``, ``test``, ``all``, or a name from the split file.
        code: The value of a FITS data-quality map that means cosmic ray.
        splits: Split → case ids, or a file with them; default ``splits.json`` in the folder,
            else the folders ``train``, ``val`` and ``test``, else folds
            (see :func:`medseg.datasets.split.fold_splits`).
        fold: Which fold is the test set.
        num_folds: Into how many parts the exposures are divided.
        seed: Of the division.

    Returns:
        The cases. ``labels`` says which value of the label file means cosmic ray; an array file
        is its own label. ``patient_id`` is the exposure that a detector's image belongs to.

    Raises:
        InputError: If there is no exposure, or one of the split has no mask.
        UsageError: If there is no such split, or the folds do not fit.
    """
    found = survey(root, code=code, splits=splits, fold=fold)
    if split == "all" or "all" not in found.splits:
        return found.cases(split)
    drawn = fold_splits(found.cases("all"), fold=fold, num_folds=num_folds, seed=seed)
    return Survey(found.dataset, found.root, drawn).cases(split)


def survey(
    root: str | Path,
    *,
    code: int = COSMIC_RAY_CODE,
    splits: str | Path | Splits | None = None,
    fold: int = 0,
) -> Survey:
    """Find the exposures of a folder; an image without its map becomes a problem."""
    root = folder_of(root, "a folder of exposures")
    files = [path for path in volumes_in(root, deep=True) if _is_exposure(path)]
    if not files:
        wanted = f"exposures (.npy, or FITS named …{IMAGE_MARK}… and …{QUALITY_MARK}…)"
        raise InputError(root, wanted, "none")
    every = [
        _case(path, case_id, code) for path, case_id in zip(files, _ids(files, root), strict=True)
    ]
    lone = [_lone(case) for case in every if case.label is None]
    named = find_splits(root, splits, fold)
    if named is not None:
        divided, rest, unknown = apply_splits(every, named, root)
        return Survey("decam", root, divided, rest, (), lone + unknown)
    by_folder = _by_folder(every, root)
    return Survey("decam", root, by_folder or {"all": every}, (), (), lone)


def _is_exposure(path: Path) -> bool:
    suffix = suffix_of(path)
    if suffix == ".npy":
        return path.name != SKY
    return suffix in FITS and IMAGE_MARK in path.name


def _ids(files: Sequence[Path], root: Path) -> list[str]:
    """The files' names without suffix, with their folders in front where they would repeat."""
    stems = [stem_of(path) for path in files]
    if len(set(stems)) == len(stems):
        return stems
    return [name_of(path, root).replace("/", "_") for path in files]


def _case(path: Path, case_id: str, code: int) -> Case:
    if suffix_of(path) == ".npy":
        return Case(case_id, path, path, LABELS)
    quality = path.with_name(path.name.replace(IMAGE_MARK, QUALITY_MARK))
    labels = dict.fromkeys(LABELS, code)
    exposure = stem_of(path).split(IMAGE_MARK)[0]
    return Case(case_id, path, quality if quality.is_file() else None, labels, exposure)


def _lone(case: Case) -> Problem:
    path = case.image if isinstance(case.image, Path) else case.image[0]
    return lone_image(path, case.case_id)


def _by_folder(every: Sequence[Case], root: Path) -> dict[str, list[Case]]:
    """Split → its cases, if the folders are named so and hold all of them."""
    named: dict[str, list[Case]] = {}
    for case in every:
        path = case.image if isinstance(case.image, Path) else case.image[0]
        named.setdefault(path.relative_to(root).parts[0], []).append(case)
    if "train" not in named or not set(named) <= set(SPLIT_FOLDERS):
        return {}
    return {split: named[split] for split in SPLIT_FOLDERS if split in named}
