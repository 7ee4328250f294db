"""DICOM series: what a folder, a zip or a file holds, and one of them as a volume.

An array's axes are columns, rows and slices, as NIfTI files of the same scan have them, and the
affine goes to RAS millimetres. Axes are right-handed, so slices run towards the head, the front or
the left, whichever is nearest to the direction that columns and rows give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.volumes.dicom_files import ZIP, Files, is_dicom, opened, read_dataset
from medseg.volumes.dicom_grid import grid_of
from medseg.volumes.dicom_header import FIELDS, Header, Plane, header_of
from medseg.volumes.dicom_library import guarded
from medseg.volumes.dicom_pixels import read_pixels
from medseg.volumes.volume import Header as VolumeHeader
from medseg.volumes.volume import Volume

SUFFIXES = (ZIP, ".dcm", ".ima", ".dicom")
SOME = 5  # series named in an error


@dataclass(frozen=True)
class Series:
    """One series of slices, as the headers describe it.

    Attributes:
        path: The folder, zip or file it lies in.
        uid: Series instance UID; empty in files that were made anonymous.
        modality: ``"CT"``, ``"MR"``, …
        description: Series description; empty where it holds a part of the patient's name, number
            or date of birth. It is free text all the same: do not write it into logs.
        planes: Its slices, in no order; localizers are left out.
        fault: Why its images are no slices of a volume; empty if they may be.
        notices: What was left out, in words.
    """

    path: Path
    uid: str
    modality: str
    description: str
    planes: tuple[Plane, ...]
    fault: str = ""
    notices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.uid or 'no UID'} ({self.modality or 'no modality'}, {len(self.planes)})"

    @property
    def is_placed(self) -> bool:
        """Whether every slice says where it is; captured screens, for one, do not."""
        return not self.fault and all(plane.position for plane in self.planes)


def is_dicom_path(path: str | Path) -> bool:
    """Whether a path is to be read as DICOM: a folder, a zip, or a file by its suffix."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES or path.is_dir()


def holds_dicom(path: str | Path) -> bool:
    """Whether there is any DICOM file in a folder, a zip or a file; it looks no further than one.

    Raises:
        InputError: If nothing is there, or a zip is damaged or not safe.
    """
    with opened(path) as files:
        return any(_is_dicom(files, name) for name in files.names)


def find_series(path: str | Path) -> list[Series]:
    """List the series of slices in a folder and its subfolders, a zip or a file.

    Only headers are read. Reports, segmentations and files that are no DICOM are left out, as are
    localizers, and each series says so in its ``notices``.

    Returns:
        The series, those with positions first, then by UID; empty if there is no DICOM at all.

    Raises:
        InputError: If nothing is there, a DICOM file is damaged, a zip is not safe, or the only
            slices are localizers.
    """
    path, headers, others = Path(path), [], 0
    with opened(path) as files:
        for name in files.names:
            header = _header(files, name)
            others += header is None or not header.planes
            headers += [header] if header is not None and header.planes else []
    scans = [header for header in headers if not header.is_localizer]
    if headers and not scans:
        raise InputError(path, "slices of a volume", f"only {len(headers)} localizers")
    notices = [(len(headers) - len(scans), "localizers"), (others, "files that are no scan")]
    said = tuple(f"{count} {what} left out" for count, what in notices if count)
    groups: dict[str, list[Header]] = {}
    for header in scans:
        groups.setdefault(header.uid, []).append(header)
    found = [_series(path, members, said) for members in groups.values()]
    return sorted(found, key=lambda series: (not series.is_placed, series.uid))


def choose_series(path: str | Path, series_uid: str | None = None) -> Series:
    """Find the one series of a folder, zip or file, or the one that is named.

    Series whose slices have no positions, such as captured screens, need to be named if there are
    others.

    Raises:
        InputError: If there is none, or several and none is named; they are listed.
    """
    found = find_series(path)
    listed = ", ".join(map(str, found[:SOME])) + (", …" if len(found) > SOME else "")
    if series_uid is not None:
        named = [series for series in found if series.uid == series_uid]
        if not named:
            raise InputError(path, f"the series {series_uid}", listed or "no series")
        return named[0]
    scans = [series for series in found if series.is_placed] or found
    if not scans:
        raise InputError(path, "DICOM slices", "none", "a folder or zip must hold one series")
    if len(scans) > 1:
        hint = "name one by its UID, or keep one series per folder"
        raise InputError(path, "one series", f"{len(scans)}: {listed}", hint)
    return scans[0]


def read_series(series: Series) -> Volume:
    """Read the slices of a series.

    Returns:
        The volume, axes (columns, rows, slices): int16 if that holds every rescaled intensity
        exactly (Hounsfield units of CT do), else float32.

    Raises:
        InputError: If the slices form no grid (see :func:`medseg.volumes.dicom_grid.grid_of`), are
            in colour, damaged, or compressed in a way that nothing installed can decode.
    """
    planes, affine = sorted_planes(series)
    with opened(series.path) as files:
        array = read_pixels(files, planes)
    return Volume(array.transpose(2, 1, 0), affine)


def read_series_header(series: Series) -> VolumeHeader:
    """Shape and affine of a series without its pixels; the type is that of most scans, int16.

    Raises:
        InputError: As :func:`read_series` does for whatever a header says.
    """
    planes, affine = sorted_planes(series)
    rows, columns = planes[0].shape
    return VolumeHeader((columns, rows, len(planes)), affine, np.dtype(np.int16))


def sorted_planes(series: Series) -> tuple[list[Plane], np.ndarray]:
    """The slices of a series by position, and their affine to RAS millimetres.

    Raises:
        InputError: If they are in colour, mosaics, or form no grid.
    """
    if series.fault:
        raise InputError(series.path, "one slice per image, one number per pixel", series.fault)
    return grid_of(series.path, series.planes)


def _is_dicom(files: Files, name: str) -> bool:
    with guarded(files.where(name)), files.open(name) as file:
        return is_dicom(file)


def _header(files: Files, name: str) -> Header | None:
    """The header of a file; ``None`` if it is no DICOM."""
    where = files.where(name)
    if not _is_dicom(files, name):
        if where.suffix.lower() in SUFFIXES:
            raise InputError(where, "a DICOM file, by its name", "a damaged or empty file")
        return None
    dataset = read_dataset(files, name, fields=FIELDS)
    with guarded(where):
        return header_of(dataset, name, where)


def _series(path: Path, members: Sequence[Header], notices: tuple[str, ...]) -> Series:
    return Series(
        path=path,
        uid=members[0].uid,
        modality=members[0].modality,
        description=members[0].description,
        planes=tuple(plane for member in members for plane in member.planes),
        fault=next((member.fault for member in members if member.fault), ""),
        notices=notices,
    )
