"""Which organ each value of a label map stands for, where a folder or the user says so."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.datasets.labels import label_map
from medseg.errors import InputError, UsageError
from medseg.files import read_json
from medseg.metrics.case import LabelValue, values_of

MANIFEST = "predictions.json"  # written by ``predict`` beside the label maps
NAMED_IN = (MANIFEST, "dataset.json", "labels.json")  # the second by Decathlon and nnU-Net


def labels_beside(*folders: Path) -> dict[str, LabelValue] | None:
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


def with_regions(
    labels: Mapping[str, LabelValue], regions: Mapping[str, Sequence[str]]
) -> dict[str, LabelValue]:
    """Add to the organs the unions of some of them, as in ``tumour = core + oedema``.

    Args:
        labels: Organ name → value.
        regions: Region → the organs it is made of. One whose parts are not all in ``labels`` is
            left out.

    Raises:
        UsageError: If a region has the name of an organ, or no parts.
    """
    found = dict(labels)
    for region, parts in regions.items():
        if region in labels or not parts:
            what = "the name of an organ" if region in labels else "nothing"
            raise UsageError(f"region {region!r}: expected a new name and its parts, got {what}")
        if all(part in labels for part in parts):
            values = {value for part in parts for value in values_of(labels[part])}
            found[region] = tuple(sorted(values))
    return found


def checked_labels(labels: Mapping[str, LabelValue]) -> dict[str, LabelValue]:
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


def _named(where: str | Path, labels: Any) -> dict[str, LabelValue]:
    if not isinstance(labels, Mapping):
        return dict(label_map(where, labels))
    lists = {organ: value for organ, value in labels.items() if isinstance(value, list | tuple)}
    below = {organ: value for organ, value in labels.items() if _is_negative(value)}
    organs = {organ: value for organ, value in labels.items() if organ not in lists | below}
    named: dict[str, LabelValue] = dict(label_map(where, organs)) if organs else {}
    for region, values in lists.items():
        whole = all(isinstance(value, int) and value != 0 for value in values)
        if not values or not whole:
            raise InputError(where, f"whole numbers other than 0 for {region!r}", repr(values)[:60])
        named[str(region)] = tuple(values)
    if len(set(below.values())) < len(below):
        raise InputError(where, "organs with one value each", repr(labels)[:80])
    named |= below
    if not named:
        raise InputError(where, "at least one organ", "background alone")
    return named


def _is_negative(value: Any) -> bool:
    return isinstance(value, int) and value < 0
