"""What there is to predict: volumes, DICOM series, folders of them, case lists and tables."""

import csv
from pathlib import Path

import numpy as np

from medseg.case import Case, read_cases
from medseg.errors import InputError
from medseg.volumes import (
    Volume,
    find_series,
    holds_dicom,
    is_dicom_path,
    read_volume,
    stem_of,
    suffix_of,
)

LARGEST_TABLE = 256 << 20  # bytes; a longer one is no list of cases
FARTHEST_MM = 1e9
LARGEST_COSINE = 0.01  # between two axes of a volume: 0.6 degrees off a right angle
WANTED = "a volume, a DICOM series, a folder of them, a case list (.json) or a table (.csv)"


def cases_of(source: str | Path, series_uid: str | None = None) -> list[Case]:
    """The cases of a volume or a DICOM series, of a folder of them, a case list, or a CSV table.

    With ``series_uid``, a folder or zip is one case, which holds that series. Without, a folder
    with DICOM slices in it is one case; in any other folder every volume is one, every zip
    and every subfolder with DICOM in it; what holds both is refused. A folder that holds
    several series is for :func:`medseg.volumes.choose_series` to refuse.

    A table has a column ``image`` and may have ``case_id``; without it a case is named after its
    file. Paths in lists and tables start at their folder.

    Raises:
        InputError: If there is none, or if two would be written under one name.
    """
    source = Path(source)
    try:
        one = series_uid is not None and is_dicom_path(source)
        cases = [_case_of(source.resolve())] if one else _cases_of(source)
    except OSError as error:
        raise InputError(source, WANTED, (error.strerror or str(error)).lower()) from error
    if not cases:
        raise InputError(source, "at least one volume (.nii.gz, .nii, .nrrd, .mha, DICOM)", "none")
    names = [case.case_id for case in cases]
    if len(set(names)) < len(names):
        doubles = sorted({name for name in names if names.count(name) > 1})
        raise InputError(source, "one volume per case id", f"several for {', '.join(doubles[:5])}")
    climbing = [name for name in names if not _is_plain(name)]
    if climbing:
        raise InputError(source, "case ids that are plain file names", repr(climbing[0]))
    return cases


def read_image(case: Case, series_uid: str | None = None) -> Volume:
    """Read the image of a case and refuse what no network can make sense of.

    Args:
        case: The case.
        series_uid: Which series, where a DICOM folder or zip holds several.

    Raises:
        InputError: If it cannot be read, is empty, has voxels that are no finite numbers, or
            axes that are not at right angles.
    """
    volume = read_volume(case.image, series_uid=series_uid)
    path = case.image if isinstance(case.image, Path) else case.image[0]
    array, affine = volume.array, volume.affine
    if not array.size:
        raise InputError(path, "a volume with voxels", f"shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise InputError(path, "one real number per voxel", f"type {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(path, "finite voxels", "NaN or infinity")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.abs(affine) < FARTHEST_MM).all() or not lengths.all():
        raise InputError(
            path, "an affine that places every voxel", str(affine[:3].round(4).tolist())
        )
    axes = affine[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > LARGEST_COSINE:
        hint = "resample it onto a straight grid"
        raise InputError(path, "axes at right angles", "an affine with shear", hint=hint)
    return volume


def _cases_of(source: Path) -> list[Case]:
    suffix = source.suffix.lower()
    if source.is_dir():
        return _cases_in(source)
    source.stat()  # says why it cannot be read: missing, a loop of links, no right to
    if suffix == ".json":
        return read_cases(source)
    if suffix == ".csv":
        return _read_table(source)
    return [_case_of(source)]


def _cases_in(folder: Path) -> list[Case]:
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    found = [path for path in visible if _is_volume(path) or _is_scan(path)]
    loose = [path for path in visible if path not in found and path.is_file()]
    if not found and any(map(_holds_dicom, loose)):
        found = [folder.resolve()]
    elif any(map(_is_slice, loose)):
        got = f"both, such as {found[0].name}"
        hint = "move the slices into a folder of their own"
        raise InputError(folder, "volumes and series, or the slices of one series", got, hint)
    return [_case_of(path) for path in found]


def _case_of(path: Path) -> Case:
    name = stem_of(path)
    if is_dicom_path(path) and not path.is_dir():
        name = path.stem
    return Case(case_id=name, image=path)


def _is_scan(path: Path) -> bool:
    """Zips count whatever is in them: a damaged one is a case that fails."""
    return path.suffix.lower() == ".zip" or (path.is_dir() and _holds_dicom(path))


def _holds_dicom(path: Path) -> bool:
    try:
        return holds_dicom(path)
    except InputError:  # what is wrong with it is told when it is read
        return path.is_dir()


def _is_slice(path: Path) -> bool:
    """Whether a file is a DICOM slice; SEG, RTSTRUCT, reports and localizers are none."""
    try:
        return bool(find_series(path))
    except InputError:
        return False


def _read_table(path: Path) -> list[Case]:
    if path.stat().st_size > LARGEST_TABLE:
        raise InputError(path, "a table of cases", f"{path.stat().st_size >> 20} MB")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, skipinitialspace=True, strict=True)
            if "image" not in (table.fieldnames or ()):
                got = ", ".join(map(str, table.fieldnames or ())) or "an empty file"
                raise InputError(path, "a column 'image', and perhaps 'case_id'", got[:200])
            rows = [(table.line_num, row) for row in table]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(path, "a CSV table in UTF-8", str(error)) from error
    return [_from_row(path, line, row) for line, row in rows]


def _from_row(path: Path, line: int, row: dict[str, str | None]) -> Case:
    image = (row.get("image") or "").strip()
    if not image or "\0" in image:
        raise InputError(path, "an image in every row", f"none in line {line}")
    file = path.parent / image
    return Case(case_id=(row.get("case_id") or "").strip() or stem_of(file), image=file)


def _is_volume(path: Path) -> bool:
    """Links that lead nowhere count: their case fails, and the others know nothing of it."""
    return bool(suffix_of(path)) and not path.is_dir()


def _is_plain(name: str) -> bool:
    printable = name.isprintable() and not set(name) & set("/\\")
    return printable and Path(name).name == name and not name.startswith(".")
