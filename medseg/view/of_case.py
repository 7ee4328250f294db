"""The files of one case in a folder that ``predict`` or ``evaluate`` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.case import Source
from medseg.errors import InputError, UsageError
from medseg.files import read_json
from medseg.metrics.case import LabelValue

RESULTS, PREDICTIONS = "results.json", "predictions.json"
NAMED = 8  # cases that an error names


@dataclass(frozen=True)
class ToShow:
    """What is shown.

    Attributes:
        image: The image.
        label_maps: Name → label map.
        labels: Name → organ → value or values, where the folder says so.
        series_uid: Which DICOM series of the image, where it was said.
    """

    image: Source
    label_maps: Mapping[str, Source]
    labels: Mapping[str, Mapping[str, LabelValue]] = field(default_factory=dict)
    series_uid: str | None = None


def find_case(folder: Path, case_id: str) -> ToShow:
    """Image, prediction and, from results, truth of a case.

    Raises:
        InputError: If the folder is of neither kind, or names no image of the case.
        UsageError: If it has no such case.
    """
    there = [folder / name for name in (RESULTS, PREDICTIONS) if (folder / name).is_file()]
    path = there[0] if there else folder
    if not path.is_file():
        raise InputError(folder, f"a folder with {RESULTS} or {PREDICTIONS}", "neither")
    content = read_json(path)
    cases = content.get("cases") if isinstance(content, dict) else None
    if not isinstance(cases, list):
        raise InputError(path, "results or predictions with 'cases'", type(content).__name__)
    known = {str(case.get("case_id")): case for case in cases if isinstance(case, dict)}
    if case_id not in known:
        names = ", ".join(list(known)[:NAMED]) + (", …" if len(known) > NAMED else "")
        raise UsageError(f"{path}: no case {case_id!r}; there are {names or 'none'}")
    case = known[case_id]
    if case.get("status") == "failed":
        raise InputError(path, f"a label map of {case_id}", str(case.get("error")))
    image, labels = _source(path, case.get("image"), "image"), _labels(content.get("labels"))
    maps = {"prediction": _source(path, case.get("prediction"), "prediction")}
    values = {"prediction": labels}
    if case.get("label"):
        maps["truth"] = _source(path, case["label"], "label")
        values["truth"] = _labels(case.get("label_values")) or labels
    settings = content.get("settings")
    series_uid = settings.get("series_uid") if isinstance(settings, dict) else None
    return ToShow(image, maps, values, series_uid)


def _source(path: Path, noted: Any, what: str) -> Source:
    if isinstance(noted, list) and noted:
        return tuple(path.parent / str(part) for part in noted)
    if not isinstance(noted, str) or not noted:
        raise InputError(path, f"the path of the case's {what}", "none")
    return path.parent / noted


def _labels(noted: Any) -> dict[str, LabelValue]:
    if not isinstance(noted, dict):
        return {}
    return {
        str(organ): tuple(map(int, value)) if isinstance(value, list) else int(value)
        for organ, value in noted.items()
    }
