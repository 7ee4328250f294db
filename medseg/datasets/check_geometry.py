"""What can be wrong with where the voxels of an image and its label lie."""

from collections.abc import Iterator, Sequence
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from medseg.datasets.check_reading import Content, sizes
from medseg.datasets.problems import Problem
from medseg.volumes import Volume, corner_distance_mm, spacing_of

SKEW = 1e-3
"""Largest cosine between two axes that still counts as a right angle (0.06 degrees)."""

OTHER_UNITS = {1: "metres", 3: "micrometres"}
"""Codes of ``xyzt_units`` for lengths other than millimetres (2) and unknown (0)."""

SPACING_MM = (0.02, 30.0)
"""Spacing outside these bounds is hardly that of a scan of a body in millimetres."""


def geometry_problems(content: Content) -> Iterator[Problem]:
    """What is wrong with the geometry of one file."""
    path, affine = content.path, content.affine
    spacing = spacing_of(affine)
    if not np.isfinite(affine).all() or min(spacing) < 1e-6 or _flat(affine):
        yield Problem("affine-invalid", path, "three axes with spacing", _millimetres(spacing))
        return
    if content.header is not None and _spacing_made_up(content.header):
        written = _millimetres(content.header["pixdim"][1:4])
        yield Problem("affine-invalid", path, "three positive spacings", written)
        return
    axes = affine[:3, :3] / spacing
    skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if skew > SKEW:
        degrees = np.degrees(np.arcsin(min(skew, 1.0)))
        got = f"{degrees:.2f} degrees off"
        yield Problem("direction-skewed", path, "axes at right angles", got)
    if not SPACING_MM[0] <= min(spacing) <= max(spacing) <= SPACING_MM[1]:
        wanted = f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm between voxels"
        yield Problem("spacing-absurd", path, wanted, _millimetres(spacing))
    if content.header is not None:
        yield from _header_problems(path, content.header, content)
        if 1 in content.array.shape:
            wanted, got = "several slices along each axis", sizes(content.array.shape)
            yield Problem("single-slice", path, wanted, got)


def mismatch(image: Content, label: Content, tolerance_mm: float) -> Iterator[Problem]:
    """How the label's grid differs from its image's, in the first respect that does."""
    shape, other = image.array.shape, label.array.shape
    if shape != other:
        got = sizes(other) + (" (the axes in another order)" if _same_sizes(shape, other) else "")
        yield Problem("shape-mismatch", label.path, f"{sizes(shape)} as its image", got)
        return
    if not (np.isfinite(image.affine).all() and np.isfinite(label.affine).all()):
        return  # said already, of the file itself
    one, two = Volume(image.array, image.affine), Volume(label.array, label.affine)
    distance = corner_distance_mm(one, two, shape)
    if distance <= tolerance_mm:
        return
    kind, wanted, got = _difference(one, two, shape, tolerance_mm)
    got = f"{got} (corners up to {distance:.3g} mm apart)"
    yield Problem(kind, label.path, f"{wanted} as its image", got)


def _difference(
    one: Volume, two: Volume, shape: tuple[int, ...], tolerance_mm: float
) -> tuple[str, str, str]:
    """Which part of the geometry moves the corners: spacing, direction or origin."""
    steps = np.asarray(shape) - 1
    spacing, other = np.asarray(one.spacing), np.asarray(two.spacing)
    if (np.abs(spacing - other) * steps).max() > tolerance_mm:
        return "spacing-mismatch", _millimetres(one.spacing), _millimetres(two.spacing)
    turned = np.linalg.norm(one.affine[:3, :3] - two.affine[:3, :3], axis=0) * steps
    if turned.max() > tolerance_mm:
        return "direction-mismatch", _direction(one), _direction(two)
    return "origin-mismatch", f"origin {_origin(one)}", _origin(two)


def _header_problems(path: str, header: Any, content: Content) -> Iterator[Problem]:
    """Where the parts of a NIfTI header disagree, or leave the orientation open."""
    coded_s, coded_q = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    unit = OTHER_UNITS.get(int(header["xyzt_units"]) & 7)
    if unit is not None:
        yield Problem("units-not-mm", path, "millimetres", unit)
    if not coded_s and not coded_q:
        yield Problem("no-orientation", path, "an sform or qform code above 0", "both 0")
        return
    if not coded_s:
        return
    half = min(spacing_of(content.affine)) / 2
    written = np.asarray(header["pixdim"][1:4], dtype=float)
    steps = np.asarray(content.array.shape) - 1
    if (np.abs(written - spacing_of(content.affine)) * steps).max() > half:
        wanted = f"pixdim {_millimetres(spacing_of(content.affine))} as the sform"
        yield Problem("pixdim-differs", path, wanted, _millimetres(written))
    elif coded_q:
        placed = _qform(header)
        volume = Volume(content.array, content.affine)
        apart = corner_distance_mm(volume, Volume(content.array, placed), content.array.shape)
        if not apart <= half:  # also if the qform is no number
            wanted = "a qform that agrees with the sform"
            yield Problem("qform-sform", path, wanted, f"corners up to {apart:.3g} mm apart")


def _spacing_made_up(header: Any) -> bool:
    """Whether the spacing counts, as there is no sform, and was mended by the reader."""
    written = np.asarray(header["pixdim"][1:4], dtype=float)
    return int(header["sform_code"]) <= 0 and not (np.isfinite(written) & (written > 0)).all()


def _qform(header: Any) -> np.ndarray:
    try:
        return np.asarray(header.get_qform(), dtype=float)
    except (HeaderDataError, ValueError):  # a quaternion longer than one
        return np.full((4, 4), np.nan)


def _flat(affine: np.ndarray) -> bool:
    """Whether two axes run along each other, so that voxels have no volume."""
    volume = abs(np.linalg.det(affine[:3, :3]))
    return bool(volume < 1e-6 * np.prod(spacing_of(affine)))


def _same_sizes(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return sorted(one) == sorted(other)


def _millimetres(spacing: Sequence[float] | np.ndarray) -> str:
    return "spacing " + "×".join(f"{float(step):.4g}" for step in spacing) + " mm"


def _origin(volume: Volume) -> str:
    return "(" + ", ".join(f"{float(x):.4g}" for x in volume.affine[:3, 3]) + ") mm"


def _direction(volume: Volume) -> str:
    """The axes as letters, and as numbers where letters do not tell them from a right angle."""
    letters = "".join(nib.aff2axcodes(volume.affine))
    axes = volume.affine[:3, :3] / np.asarray(volume.spacing)
    columns = " ".join(",".join(f"{x:.3g}" for x in column) for column in axes.T)
    return f"direction {letters} ({columns})"
