"""What the header of a DICOM image says of each plane in it; the pixels are not read."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputError

LARGEST = 1e9  # of any number; millimetres and slopes are far below
LARGEST_PLANE = 1 << 26  # pixels; a larger one is a damaged header
FIELDS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType",
    "SeriesDescription", "PatientName", "PatientID", "PatientBirthDate", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
NO_SCANS = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG", "DOC", "FID", "M3D"}


@dataclass(frozen=True)
class Plane:
    """One slice of a scan: where it is and how its pixels become intensities.

    Attributes:
        name: Its file below the series' folder or zip.
        frame: Which frame of the file, from 0.
        frames: How many frames the file has.
        instance_uid: SOP instance UID.
        shape: Rows and columns.
        position: Centre of its first pixel in mm, LPS; ``None`` if not said.
        orientation: Direction of growing column index, then of growing row index, six numbers.
        spacing: Distance between rows, between columns, in mm.
        thickness: Distance to the next slice as the header has it, in mm; 0 if not said.
        slope: What a stored number is multiplied by.
        intercept: What is added after that.
    """

    name: str
    frame: int
    frames: int
    instance_uid: str
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float
    slope: float
    intercept: float


@dataclass(frozen=True)
class Header:
    """What one file holds.

    Attributes:
        uid: Series instance UID; may be empty in files that were made anonymous.
        modality: ``"CT"``, ``"MR"``, …
        description: Series description; empty where it holds a part of the patient's name, number
            or date of birth.
        planes: Its slices; none if the file is no scan, such as a report or a segmentation.
        is_localizer: A survey image that is no part of the volume.
        fault: Why its images are no slices of a volume, such as ``"a colour image"``; empty if
            they may be.
    """

    uid: str
    modality: str
    description: str
    planes: tuple[Plane, ...]
    is_localizer: bool
    fault: str


def header_of(dataset: Any, name: str, where: Path) -> Header:
    """Read the header of one file.

    Args:
        dataset: pydicom's dataset with at least :data:`FIELDS`.
        name: The file's name in its folder or zip.
        where: The same for errors.

    Raises:
        InputError: If a number is missing or cannot be. Other errors of pydicom pass through.
    """
    modality = _text(dataset, "Modality")
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    planes: tuple[Plane, ...] = ()
    if not rows and modality not in NO_SCANS and _is_image(dataset):
        raise InputError(where, "the header of an image", "a damaged or truncated file")
    if rows and columns and modality not in NO_SCANS:
        if rows * columns > LARGEST_PLANE:
            raise InputError(where, f"at most {LARGEST_PLANE} pixels", f"{rows} x {columns}")
        planes = tuple(_planes(dataset, name, where, (rows, columns)))
    image_type = {str(value).upper() for value in _values(dataset, "ImageType")}
    return Header(
        uid=_text(dataset, "SeriesInstanceUID"),
        modality=modality,
        description=_description(dataset),
        planes=planes,
        is_localizer=bool(image_type & {"LOCALIZER", "SCOUT"}),
        fault=_fault(dataset, image_type),
    )


def instance_uid_of(dataset: Any) -> str:
    """SOP instance UID, from the file's preamble where the dataset has lost it."""
    meta = getattr(dataset, "file_meta", None) or {}
    return _text(dataset, "SOPInstanceUID") or _text(meta, "MediaStorageSOPInstanceUID")


def _fault(dataset: Any, image_type: set[str]) -> str:
    photometric = _text(dataset, "PhotometricInterpretation")
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        return "a colour image"
    return "a mosaic of slices in one image" if "MOSAIC" in image_type else ""


def _is_image(dataset: Any) -> bool:
    """Whether the file claims to be an image; whatever has no pixels is none."""
    meta = getattr(dataset, "file_meta", None) or {}
    uid = dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")
    return uid is not None and str(uid.name).endswith("Image Storage")


def _planes(dataset: Any, name: str, where: Path, shape: tuple[int, int]) -> list[Plane]:
    if dataset.get("ModalityLUTSequence"):
        raise InputError(where, "a rescale slope and intercept", "a lookup table of intensities")
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = [[frame, *shared] for frame in per_frame]
    frames = int(dataset.get("NumberOfFrames") or 1)
    if groups and len(groups) != frames:
        raise InputError(where, f"a description of each of {frames} frames", f"{len(groups)}")
    planes = []
    for index, holders in enumerate(groups or [[]]):
        places = [
            dataset,
            *(item for group in holders for items in group for item in _items(items)),
        ]
        planes.append(_plane(places, name, where, index, frames, shape))
    return planes


def _plane(
    places: list[Any], name: str, where: Path, index: int, frames: int, shape: tuple[int, int]
) -> Plane:
    moving = frames > 1 and len(places) == 1  # many frames, none of which says where it is
    thickness = _numbers(places, "SpacingBetweenSlices", 1, where) or _numbers(
        places, "SliceThickness", 1, where
    )
    slope = _numbers(places, "RescaleSlope", 1, where) or (1.0,)
    intercept = _numbers(places, "RescaleIntercept", 1, where) or (0.0,)
    spacing = _numbers(places, "PixelSpacing", 2, where)
    if slope[0] == 0 or (spacing and min(spacing) <= 0):
        raise InputError(where, "a pixel spacing above 0 and a slope that is not 0", "others")
    return Plane(
        name=name,
        frame=index,
        frames=frames,
        instance_uid=instance_uid_of(places[0]),
        shape=shape,
        position=None if moving else _numbers(places, "ImagePositionPatient", 3, where),
        orientation=_numbers(places, "ImageOrientationPatient", 6, where),
        spacing=spacing,
        thickness=abs(thickness[0]) if thickness else 0.0,
        slope=slope[0],
        intercept=intercept[0],
    )


def _items(element: Any) -> list[Any]:
    """The datasets in an element of a functional group."""
    return list(element.value) if element.VR == "SQ" else []


def _numbers(places: list[Any], field: str, count: int, where: Path) -> tuple[float, ...] | None:
    """The numbers of a field, from the last place that has it; ``None`` if none does."""
    for place in reversed(places):
        values = _values(place, field)
        if values:
            numbers = tuple(float(value) for value in values)
            if len(numbers) != count or not all(abs(number) < LARGEST for number in numbers):
                raise InputError(where, f"{count} numbers as {field}", "others, or too large ones")
            return numbers
    return None


def _values(dataset: Any, field: str) -> list[Any]:
    value = dataset.get(field)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, (str, int, float)) else list(value)


def _text(dataset: Any, field: str) -> str:
    return str(dataset.get(field) or "").strip()


def _description(dataset: Any) -> str:
    description = _text(dataset, "SeriesDescription")
    personal = " ".join(_text(dataset, f"Patient{field}") for field in ("Name", "ID", "BirthDate"))
    words = [word for word in re.split(r"[\W_]+", personal.lower()) if len(word) > 1]
    return "" if any(word in description.lower() for word in words) else description
