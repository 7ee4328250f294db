"""Which organ each value of a label map stands for, where a folder or the user says so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.datasets.labels import label_map
from medseg.errors import InputError, UsageError
from medseg.files import read_json

MANIFEST = "predictions.json"  # written by ``predict`` beside the label maps
NAMED_IN = (MANIFEST, "dataset.json", "labels.json")  # the second by Decathlon and nnU-Net


def labels_beside(*folders: Path) -> dict[str, int] | None:
    """Organ name → value as told by the first folder that tells it, or ``None``.

    Told means: a ``predictions.json`` or ``dataset.json`` with ``labels``, or a ``labels.json``
    that is nothing else; from organ to value or, as in the Decathlon, from value to organ.

    Raises:
        InputError: If such a file is there but its labels make no sense.
    """
    for path in (folder / name for folder in folders for name in NAMED_IN):
        labels = _labels_in(path) if path.is_file() else None
        if labels:
            return _named(path, labels)
    return None


def checked_labels(labels: Mapping[str, int]) -> dict[str, int]:
    """The user's organ name → value, the background left out.

    Raises:
        UsageError: If nothing is named, or two organs share a value.
    """
    try:
        return _named("labels", labels)
    except InputError as error:
        raise UsageError(str(error)) from None


def _labels_in(path: Path) -> Any:
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    if path.name == "labels.json":  # others keep other things under this name
        return content if not any(isinstance(entry, dict) for entry in content.values()) else None
    return content.get("labels")


def _named(where: str | Path, labels: Any) -> dict[str, int]:
    named = label_map(where, labels)
    if not named:
        raise InputError(where, "at least one organ", "background alone")
    return named
