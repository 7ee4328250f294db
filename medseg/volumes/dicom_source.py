"""What a DICOM object made from a series needs: its headers, and a label map on its slices."""

import colorsys
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg import __version__
from medseg.errors import InputError
from medseg.volumes.dicom_files import opened, read_dataset
from medseg.volumes.dicom_header import Plane, instance_uid_of
from medseg.volumes.dicom_library import guarded
from medseg.volumes.dicom_series import Series, sorted_planes
from medseg.volumes.orientation import in_axes_of
from medseg.volumes.volume import Header, Volume, corner_distance_mm

ON_THE_GRID = 0.1  # how far a corner may be off, in the smallest distance between voxels
GOLDEN = 0.6180339887  # steps of the golden ratio never fall on a hue used before
MAKER = "medseg"
UNICODE = "ISO_IR 192"
MAY_BE_EMPTY = (  # but not absent (type 2)
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
DATE, TIME = re.compile(r"\d{8}"), re.compile(r"\d\d(\d\d(\d\d(\.\d{1,6})?)?)?")
VALID = {
    "PatientBirthDate": DATE,
    "StudyDate": DATE,
    "StudyTime": TIME,
    "PatientSex": re.compile("[MFO]"),
}


@dataclass(frozen=True)
class Algorithm:
    """Who drew the organs, as the object says.

    Attributes:
        model: Name of the model.
        version: Version of the program.
    """

    model: str = MAKER
    version: str = __version__


@dataclass(frozen=True)
class Placed:
    """A label map on the slices of the series it was made for.

    Attributes:
        planes: The slices by position.
        frames: Label values, shape (slices, rows, columns), in that order.
        present: Values that occur, background left out.
        affine: From (column, row, slice) to RAS millimetres, shape (4, 4).
        images: The header of each file, pixels left out, in the order in which its slices come.
    """

    planes: tuple[Plane, ...]
    frames: np.ndarray
    present: frozenset[int]
    affine: np.ndarray
    images: tuple[Any, ...]


def placed_on(label_map: Volume, series: Series, labels: Mapping[str, int], path: Path) -> Placed:
    """Lay a label map on the slices of a series.

    Args:
        label_map: On the series' grid, in any order and direction of axes.
        series: What it was made from.
        labels: Organ name → value.
        path: What is to be written, for errors.

    Raises:
        InputError: If the grids differ, a value has no name, or a header is damaged.
    """
    planes, affine = sorted_planes(series)
    if len({plane.name for plane in planes}) not in (1, len(planes)):
        raise InputError(series.path, "one slice per file, or one file", "several with many slices")
    rows, columns = planes[0].shape
    array = label_map.array.view(np.uint8) if label_map.array.dtype == bool else label_map.array
    grid = Header((columns, rows, len(planes)), affine, array.dtype)
    turned = in_axes_of(Volume(array, label_map.affine), Volume(array, affine))
    if turned.array.shape != grid.shape:
        raise InputError(path, f"a label map of shape {grid.shape}", f"{turned.array.shape}")
    distance = corner_distance_mm(turned, grid, grid.shape)
    if not distance <= ON_THE_GRID * min(grid.spacing):
        raise InputError(path, "a label map on the series' grid", f"one {distance:.2f} mm away")
    frames = turned.array.transpose(2, 1, 0)
    if frames.dtype.kind not in "iu":
        raise InputError(path, "a label map of whole numbers", str(frames.dtype))
    present = frozenset(int(value) for frame in frames for value in np.unique(frame)) - {0}
    unnamed = sorted(present - {value for value in labels.values() if value > 0})
    if unnamed:
        raise InputError(path, "a name for every value of the label map", f"none for {unnamed[:9]}")
    images = _images(series, planes, grid.spacing[2])
    if not all(name.isascii() for name in labels):
        _write_in_unicode(series.path, images)
    return Placed(tuple(planes), frames, present, affine, tuple(images))


def colour_of(index: int) -> tuple[int, int, int]:
    """A colour for the organ at this place in the list: red, green and blue from 0 to 255."""
    red, green, blue = colorsys.hls_to_rgb(index * GOLDEN % 1, (0.5, 0.62, 0.42)[index % 3], 0.65)
    return round(255 * red), round(255 * green), round(255 * blue)


def _images(series: Series, planes: Sequence[Plane], step_mm: float) -> list[Any]:
    with opened(series.path) as files:
        names = list(dict.fromkeys(plane.name for plane in planes))
        images = [read_dataset(files, name) for name in names]
        for name, image in zip(names, images, strict=True):
            with guarded(files.where(name)):
                _restore(image, files.where(name), step_mm)
    seeds = [str(image.SOPInstanceUID) for image in images]
    for image in images:
        for field in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            if not image.get(field):
                setattr(image, field, _derived_uid([field, *sorted(seeds)]))
    return images


def _restore(image: Any, where: Path, step_mm: float) -> None:
    """Give an image what anonymising took: its UIDs from the preamble; the rest stays empty."""
    uid = instance_uid_of(image)
    kind = image.get("SOPClassUID") or image.file_meta.get("MediaStorageSOPClassUID")
    if not uid or not kind:
        raise InputError(where, "an image with a SOP class and instance UID to refer to", "none")
    image.SOPInstanceUID, image.SOPClassUID = uid, kind
    image.Modality = image.get("Modality") or "OT"
    if not image.get("SliceThickness") and "PerFrameFunctionalGroupsSequence" not in image:
        image.SliceThickness = f"{step_mm:.6g}"
    for field in MAY_BE_EMPTY:
        if field not in image or not _is_valid(field, str(image.get(field) or "")):
            setattr(image, field, "")


def _write_in_unicode(path: Path, images: Sequence[Any]) -> None:
    """Have what is made of these images in UTF-8: their own character set may lack a name's."""
    for image in images:
        with guarded(path, "headers in the character set that they name"):
            image.decode()
        image.SpecificCharacterSet = UNICODE


def _is_valid(field: str, text: str) -> bool:
    """Whether a date, time or sex is one; what is none may not be written again."""
    return not text or field not in VALID or VALID[field].fullmatch(text.strip()) is not None


def _derived_uid(seeds: Sequence[str]) -> str:
    """The same UID for the same images, under the root for UUIDs (PS3.5, B.2)."""
    digest = hashlib.sha256("\n".join(seeds).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
