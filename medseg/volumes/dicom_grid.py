"""From the positions of slices to one grid, or to the reason why there is none.

Source: DICOM PS3.3, C.7.6.2.1.1: a pixel's place follows from Image Position (Patient), Image
Orientation (Patient) and Pixel Spacing. Slices are ordered by position along their normal; neither
names nor instance numbers say where a slice is.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.volumes.dicom_header import Plane
from medseg.volumes.volume import LPS_TO_RAS

SAME_DIRECTION = 1e-3  # largest difference of a direction cosine
SAME_SPACING = 1e-4  # of pixels, relative
SAME_STEP = 0.1  # by how much a slice may be off its place, in slice distances
SIDEWAYS = 0.25  # by how much it may be shifted in its plane, in pixels


def grid_of(path: Path, planes: Sequence[Plane]) -> tuple[list[Plane], np.ndarray]:
    """Sort the slices of a series and find the grid that they form.

    Args:
        path: The series' folder, zip or file, for errors.
        planes: Its slices in any order.

    Returns:
        The slices in the order of growing position along their normal, and the affine from
        (column, row, slice) to RAS millimetres, float64, shape (4, 4). The three axes are
        perpendicular, and right-handed.

    Raises:
        InputError: If positions are missing or occur twice, sizes or orientations are mixed, slices
            are missing, their distance changes, or they are shifted against each other as a tilted
            gantry does; such a series is no box of voxels and has to be resampled first.
    """
    directions, (between_rows, between_columns) = _plane_geometry(path, planes)
    row, column, normal = directions
    positions = np.array([plane.position for plane in planes])
    order = np.argsort(positions @ normal, kind="stable")
    planes, positions = [planes[index] for index in order], positions[order]
    depths = positions @ normal
    step = _step(path, planes, depths)
    sideways = (positions - positions.mean(axis=0)) @ np.stack([row, column], axis=1)
    _check_straight(path, sideways, depths, (between_columns, between_rows))
    centre = positions.mean(axis=0)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * between_columns, column * between_rows, normal * step], axis=1)
    affine[:3, 3] = centre + normal * (depths[0] - centre @ normal)
    return planes, LPS_TO_RAS @ affine


def _plane_geometry(path: Path, planes: Sequence[Plane]) -> tuple[np.ndarray, tuple[float, float]]:
    """Directions of growing column, row and slice index in LPS, and distances of rows, columns."""
    for field, name in (
        ("position", "Image Position (Patient)"),
        ("orientation", "Image Orientation (Patient)"),
        ("spacing", "Pixel Spacing"),
    ):
        bare = [plane for plane in planes if getattr(plane, field) is None]
        if bare:
            got = f"none in {len(bare)} of {len(planes)} slices, such as {bare[0].name}"
            raise InputError(path, f"the tag {name} in every slice", got)
    shapes = sorted({plane.shape for plane in planes})
    if len(shapes) > 1:
        raise InputError(path, "slices of one size", ", ".join(f"{r} x {c}" for r, c in shapes[:4]))
    orientations = np.array([plane.orientation for plane in planes])
    if np.ptp(orientations, axis=0).max() > SAME_DIRECTION:
        found = len(np.unique(orientations.round(2), axis=0))
        hint = "keep one orientation per folder"
        raise InputError(path, "slices of one orientation", f"{found} orientations", hint)
    spacings = np.array([plane.spacing for plane in planes])
    if (np.ptp(spacings, axis=0) > SAME_SPACING * spacings.min(axis=0)).any():
        raise InputError(path, "one pixel spacing", f"{len(np.unique(spacings, axis=0))} of them")
    rows_mm, columns_mm = spacings[0]
    return _directions(path, orientations[0]), (float(rows_mm), float(columns_mm))


def _directions(path: Path, orientation: np.ndarray) -> np.ndarray:
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > SAME_DIRECTION or abs(row @ column) > SAME_DIRECTION:
        raise InputError(path, "two perpendicular directions of length 1 per slice", "others")
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def _step(path: Path, planes: Sequence[Plane], depths: np.ndarray) -> float:
    """Distance from slice to slice in mm, after a look at each."""
    if len(depths) == 1:
        return planes[0].thickness or 1.0
    steps = np.diff(depths)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    doubles = int((steps <= SAME_STEP * usual).sum())
    if doubles:
        index = int(np.argmin(steps))
        one, other = planes[index], planes[index + 1]
        twice = one.instance_uid == other.instance_uid != "" and one.frame == other.frame
        what = "the same image twice" if twice else "several images at one position"
        hint = "keep one time point, phase or echo per folder, and each file once"
        raise InputError(path, "one slice per position", f"{what} ({doubles} times)", hint)
    ratios = steps / usual
    gaps = (ratios > 1.5) & (np.abs(ratios - ratios.round()) < 2 * SAME_STEP)
    if gaps.any() and (gaps | (np.abs(ratios - 1) <= SAME_STEP)).all():
        missing = int((ratios[gaps].round() - 1).sum())
        index = int(np.argmax(gaps))
        got = f"{missing} missing, first after {depths[index]:.2f} mm ({planes[index].name})"
        hint = "copy the whole series"
        raise InputError(path, f"a slice every {usual:.3g} mm", got, hint)
    step = float(depths[-1] - depths[0]) / (len(depths) - 1)
    drift = np.abs(depths - (depths[0] + step * np.arange(len(depths))))
    if np.abs(ratios - 1).max() > SAME_STEP or drift.max() > SAME_STEP * step:
        got = f"{steps.min():.3g} to {steps.max():.3g} mm"
        raise InputError(path, "one distance from slice to slice", got, "resample it first")
    return step


def _check_straight(
    path: Path, sideways: np.ndarray, depths: np.ndarray, pixel: tuple[float, float]
) -> None:
    """Refuse slices that do not lie straight behind each other; ``sideways`` is in mm."""
    if (np.abs(sideways) <= SIDEWAYS * np.array(pixel)).all():
        return
    depths = depths - depths.mean()
    slope = depths @ sideways / max(float(depths @ depths), 1e-12)
    if (np.abs(sideways - np.outer(depths, slope)) <= SIDEWAYS * np.array(pixel)).all():
        degrees = np.degrees(np.arctan(np.linalg.norm(slope)))
        got, hint = f"a gantry tilt of {degrees:.1f} degrees", "resample it upright first"
    else:
        got, hint = f"shifts of up to {np.abs(sideways).max():.3g} mm", "resample it first"
    raise InputError(path, "slices straight behind each other", got, hint)
