"""A data set's folder as ``medseg plan`` sees it: its training cases, organs and config section."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.case import Case
from medseg.datasets import acdc, decathlon, folder, synapse
from medseg.datasets.check import recognise
from medseg.datasets.labels import read_labels
from medseg.datasets.split import fold_splits
from medseg.datasets.survey import Survey
from medseg.errors import InputError, UsageError
from medseg.files import read_json

LAYOUTS = ("decathlon", "folder", "acdc", "synapse")
FOLDS = 5
Organs = str | Path | Mapping[str, int] | Sequence[str] | None


@dataclass(frozen=True)
class DataSource:
    """What is known of a data set before a volume is read.

    Attributes:
        layout: Module of :mod:`medseg.datasets` that reads it.
        root: Its folder.
        labels: Organ → value that a model is to write.
        train: Training cases.
        sections: The config's ``cases``: split → how its cases are found.
        modality: What the data set says of itself; empty if nothing.
    """

    layout: str
    root: Path
    labels: Mapping[str, int]
    train: Sequence[Case]
    sections: Mapping[str, Any]
    modality: str


def open_source(root: str | Path, labels: Organs = None, dataset: str | None = None) -> DataSource:
    """Recognise a folder's layout and find its training cases.

    Args:
        root: The folder.
        labels: Organs to segment: names out of the data set's, or organ → value, or a JSON file
            with it; default: all the data set has.
        dataset: Its layout, if it is not to be recognised.

    Raises:
        InputError: If there is no such folder, it has no usable cases or names no organs.
        UsageError: If there is no such layout or organ.
    """
    path = Path(root)
    layout = dataset or recognise(path)
    if layout not in LAYOUTS:
        raise UsageError(f"{path}: plan reads {', '.join(LAYOUTS)}, not {layout}")
    file_labels = _file_labels(path, layout, labels)
    found = _survey(path, layout, file_labels)
    every = found.cases("all")
    if not every:
        raise InputError(path, "cases with labels", "none")
    train, sections = _divided(found, layout, every)
    chosen = _chosen(path, labels, every[0].labels)
    if layout == "folder" and file_labels is not None:
        sections = {name: {**call, "labels": file_labels} for name, call in sections.items()}
    if layout == "folder" and sections["train"].get("labels") == chosen:
        sections = {name: {**call, "labels": "@labels"} for name, call in sections.items()}
    return DataSource(layout, path, chosen, train, sections, _modality(path, layout))


def _survey(path: Path, layout: str, labels: Mapping[str, int] | None) -> Survey:
    if layout == "folder":
        return folder.survey(path, labels=labels)
    readers: dict[str, Callable[[Path], Survey]] = {
        "decathlon": decathlon.survey, "acdc": acdc.survey, "synapse": synapse.survey,
    }  # fmt: skip
    return readers[layout](path)


def _file_labels(path: Path, layout: str, labels: Organs) -> dict[str, int] | None:
    """Organ → value in the files of a plain folder that has no ``labels.json`` of its own."""
    if layout != "folder" or (path / "labels.json").is_file():
        return None
    if isinstance(labels, Mapping) or (isinstance(labels, (str, Path)) and Path(labels).is_file()):
        return read_labels(path, labels)
    wanted = "labels.json in the folder, or labels that name each organ's value"
    raise InputError(path, wanted, "neither", 'such as --labels "liver=1,spleen=2"')


def _chosen(path: Path, labels: Organs, known: Mapping[str, int]) -> dict[str, int]:
    if labels is None:
        return dict(known)
    if isinstance(labels, Path) or (isinstance(labels, str) and Path(labels).is_file()):
        labels = read_labels(path, labels)
    names = [labels] if isinstance(labels, str) else list(labels)
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise UsageError(f"{path}: no organ {', '.join(missing)}; there are {', '.join(known)}")
    return {str(name): known[name] for name in names}


def _divided(
    found: Survey, layout: str, every: Sequence[Case]
) -> tuple[Sequence[Case], dict[str, Any]]:
    """The training cases, and how the config finds the cases of each split."""
    names: tuple[str, ...] = ("train", "val", "test")
    call: dict[str, Any] = {"_target_": f"medseg.datasets.{layout}.cases", "root": "@data"}
    if layout == "synapse":  # the published split holds out cases for validation on request
        train: Sequence[Case] = synapse.cases(found.root, split="train")
    elif "all" not in found.splits:
        names = tuple(name for name in ("train", "val", "test") if found.splits.get(name))
        train = found.cases("train")
    else:
        folds = min(FOLDS, len({case.patient for case in every}))
        if folds < 3:
            wanted = "3 patients or more, or splits.json with train and val"
            raise InputError(found.root, wanted, f"{folds}")
        train = fold_splits(every, num_folds=folds)["train"]
        if folds < FOLDS:
            call = {**call, "num_folds": folds}
    bare = [case.case_id for case in train if case.label is None]
    if bare or not train:
        raise InputError(found.root, "training cases with labels", ", ".join(bare[:10]) or "none")
    return train, {name: {**call, "split": name} for name in names}


def _modality(path: Path, layout: str) -> str:
    """What the data set says it is; CT for Synapse, MRI for ACDC."""
    if layout != "decathlon":
        return {"synapse": "CT", "acdc": "MRI"}.get(layout, "")
    content = read_json(path / "dataset.json")
    named = content.get("modality") or content.get("channel_names") or {}
    return str(named.get("0", "")) if isinstance(named, Mapping) else ""
