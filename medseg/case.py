"""One case: where its image and label are, who it belongs to, and what its label values mean.

Axis order, said once for the whole package:

* A file keeps its own axes. ``medseg.volumes`` reads it as an array whose three axes are the
  file's, with an affine that takes voxel indices to millimetres in RAS world space.
* After loading, an array is (C, X, Y, Z) in RAS orientation, as in MONAI.
* The slice store keeps (Z, X, Y), so that an axial slice is one contiguous read of shape (X, Y);
  networks see it as (H, W) = (X, Y), as MONAI's ``SliceInferer(spatial_dim=2)`` does.
* ``spacing`` is in millimetres and in the order of the array's axes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.files import read_json, write_json

Source = Path | tuple[Path, ...]


@dataclass(frozen=True)
class Case:
    """One image with, perhaps, its reference label map.

    Attributes:
        case_id: Unique within the data set; outputs are named after it.
        image: The volume's file, or a tuple with one file per axial slice, lowest first.
        label: The label map's file or files, or ``None`` where there is none.
        labels: Organ name → value in the label file. Every value that may occur is named;
            0 is background and is not. Values need not be consecutive.
        patient_id: Who was scanned; cases of one patient belong on one side of a split.
            Empty means: the case is its own patient.
        group: Free columns of the case (``{"phase": "ED"}``), kept for subgroup statistics.
    """

    case_id: str
    image: Source
    label: Source | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    patient_id: str = ""
    group: Mapping[str, str] = field(default_factory=dict)

    @property
    def patient(self) -> str:
        """The patient, or the case itself where no patient is named."""
        return self.patient_id or self.case_id


def write_cases(path: str | Path, cases: Sequence[Case]) -> None:
    """Write a case list as JSON; files are kept as absolute paths."""
    write_json(path, {"cases": [_to_plain(case) for case in cases]})


def read_cases(path: str | Path) -> list[Case]:
    """Read a case list written by :func:`write_cases`; relative paths start at its folder.

    Raises:
        InputError: If the file is no case list.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("cases"), list):
        raise InputError(path, "a case list {'cases': [...]}", f"{type(content).__name__}")
    return [_from_plain(path, entry) for entry in content["cases"]]


def _to_plain(case: Case) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "image": _plain_source(case.image),
        "label": None if case.label is None else _plain_source(case.label),
        "labels": dict(case.labels),
        "patient_id": case.patient_id,
        "group": dict(case.group),
    }


def _plain_source(source: Source) -> str | list[str]:
    if isinstance(source, tuple):
        return [str(path.resolve()) for path in source]
    return str(source.resolve())


def _from_plain(list_path: Path, entry: Any) -> Case:
    if not isinstance(entry, dict) or not {"case_id", "image"} <= entry.keys():
        raise InputError(list_path, "cases with 'case_id' and 'image'", repr(entry)[:80])
    label = entry.get("label")
    return Case(
        case_id=str(entry["case_id"]),
        image=_source(list_path, entry["image"]),
        label=None if label is None else _source(list_path, label),
        labels={str(name): int(value) for name, value in entry.get("labels", {}).items()},
        patient_id=str(entry.get("patient_id", "")),
        group={str(key): str(value) for key, value in entry.get("group", {}).items()},
    )


def _source(list_path: Path, value: Any) -> Source:
    if isinstance(value, list):
        return tuple(list_path.parent / str(part) for part in value)
    return list_path.parent / str(value)
