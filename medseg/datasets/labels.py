"""Label maps, organ name to value, in the forms data sets write them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.files import read_json

Labels = Mapping[str, int]


def read_labels(root: Path, labels: str | Path | Labels | None) -> dict[str, int]:
    """The label map given, or that of a JSON file, or of ``labels.json`` in the folder, or none.

    Raises:
        InputError: If the file holds no map from organ to whole number.
    """
    if isinstance(labels, Mapping):
        return label_map("labels", labels)
    path = root / "labels.json" if labels is None else Path(labels)
    if labels is None and not path.is_file():
        return {}
    return label_map(path, read_json(path))


def label_map(where: str | Path, content: Any) -> dict[str, int]:
    """Organ → value from ``{"liver": 1}`` or ``{"1": "liver"}``, without background (0).

    Args:
        where: What an error names: the file the map comes from.
        content: The map, as read.

    Raises:
        InputError: If it is neither, or two organs share a name or a value.
    """
    if not isinstance(content, Mapping) or not content:
        raise InputError(where, "a map from organ to value", repr(content)[:60])
    by_value = all(str(key).isdecimal() for key in content)
    entries = [(str(v), k) if by_value else (str(k), v) for k, v in content.items()]
    for organ, value in entries:
        if not str(value).isdecimal():
            hint = "regions of several values are not supported: name each value once"
            raise InputError(where, f"one whole number for {organ!r}", repr(value)[:60], hint)
    organs = [(organ, int(value)) for organ, value in entries if int(value) != 0]
    if not len(organs) == len(dict(organs)) == len({value for _, value in organs}):
        raise InputError(where, "organs with one name and one value each", repr(content)[:80])
    return dict(sorted(organs, key=lambda entry: entry[1]))
