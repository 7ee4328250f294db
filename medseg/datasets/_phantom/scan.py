"""A scanner: where it looks, how finely, in which orientation it stores, and its noise."""

from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    ornt_transform,
)
from scipy.ndimage import gaussian_filter1d

from medseg.datasets._phantom.body import Body, draw_body, paint_body
from medseg.datasets._phantom.patient import bounded
from medseg.datasets._phantom.shapes import tilted
from medseg.datasets._phantom.types import Array, Generator
from medseg.volumes import Volume

AIR_HU, MAX_HU = -1024, 3071
AXIAL_CODES = ("RAS", "LPS", "LAS", "RPS", "LPI", "RAI", "LAI", "RPI")
SWAPPED_CODES = ("ARS", "PLI", "SRA", "ILP", "ASL", "RSP")
SLAB_VOXELS = 1_200_000
AMID_ORGANS_MM = (0.0, 30.0, 0.0)  # in the body's frame: in front of the spine, above the kidneys


@dataclass(frozen=True)
class Scan:
    """How one case is scanned.

    Attributes:
        spacing: Along right, front, head, in mm.
        shape: Voxels along the same axes.
        start: Place of the first voxel in the body's frame, in mm.
        origin: Place of the body's origin in the world, in mm.
        tilt: Rotation of the body, shape (3, 3).
        orientation: Axis codes of the file.
        noise_hu: Standard deviation of the noise.
        grain: How far noise is correlated within a slice, in pixels.
    """

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    start: tuple[float, float, float]
    origin: tuple[float, float, float]
    tilt: Array
    orientation: str
    noise_hu: float
    grain: float


def draw_scan(rng: Generator, shape: tuple[int, int, int]) -> Scan:
    """Draw a scan: 350 to 450 mm wide, from the dome of the liver down; one in eight is short."""
    width = float(rng.uniform(350, 450))
    short = rng.random() < 0.12
    length = float(rng.uniform(110, 160) if short else rng.uniform(200, 258))
    top = float(rng.uniform(30, 130) if short else rng.uniform(93, 142))
    pixel = width / max(shape[:2])
    spacing = (pixel, pixel, length / shape[2])
    centre = np.array([rng.uniform(-15, 15), 30 + rng.uniform(-15, 15), top - length / 2])
    start = centre - (np.array(shape) - 1) / 2 * spacing
    codes = SWAPPED_CODES if rng.random() < 0.15 else AXIAL_CODES
    return Scan(
        spacing,
        shape,
        start=(float(start[0]), float(start[1]), float(start[2])),
        origin=(8 * bounded(rng), 8 * bounded(rng), float(rng.uniform(-900, 200))),
        tilt=tilted(2 * bounded(rng), 2 * bounded(rng), 3 * bounded(rng)),
        orientation=codes[int(rng.integers(len(codes)))],
        noise_hu=float(rng.uniform(8, 18)),
        grain=float(rng.uniform(0.4, 0.8)),
    )


def scan_case(
    seed: int, index: int, shape: tuple[int, int, int]
) -> tuple[Volume, Volume, Body, Scan]:
    """Make image and label of one case; the numbers depend on nothing but the arguments."""
    rngs = [np.random.default_rng([seed, index, part]) for part in range(3)]
    body, scan = draw_body(rngs[0]), draw_scan(rngs[1], shape)
    hu, label = _slabs(body, scan)
    image = _noisy(rngs[2], hu, scan)
    return _stored(image, scan), _stored(label, scan), body, scan


def scan_excerpt(
    seed: int, index: int, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[Volume, Volume]:
    """Make image and label of a case on this very grid amid its organs, RAS."""
    rngs = [np.random.default_rng([seed, index, part]) for part in range(3)]
    body, scan = draw_body(rngs[0]), draw_scan(rngs[1], shape)
    half = (np.array(shape) - 1) / 2 * spacing
    x, y, z = (float(place) for place in np.array(AMID_ORGANS_MM) - half)
    scan = replace(scan, spacing=spacing, start=(x, y, z), orientation="RAS")
    hu, label = _slabs(body, scan)
    return _stored(_noisy(rngs[2], hu, scan), scan), _stored(label, scan)


def _slabs(body: Body, scan: Scan) -> tuple[Array, Array]:
    x, y, z = (
        s + d * np.arange(n) for s, d, n in zip(scan.start, scan.spacing, scan.shape, strict=True)
    )
    depth = max(SLAB_VOXELS // (len(x) * len(y)), 1)
    parts = [
        paint_body(body, z[first : first + depth], y, x, scan.tilt, scan.spacing[0])
        for first in range(0, len(z), depth)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _noisy(rng: Generator, hu: Array, scan: Scan) -> Array:
    """Blur as the scanner does, add grainy noise, and round to whole HU."""
    thick = gaussian_filter1d(hu, 0.45, axis=0, mode="nearest")
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    for axis in (1, 2):
        noise = gaussian_filter1d(noise, scan.grain, axis=axis, mode="wrap")
    thick += noise * np.float32(scan.noise_hu / noise.std())
    image: Array = np.clip(np.rint(thick), AIR_HU, MAX_HU).astype(np.int16)
    return image


def _stored(array: Array, scan: Scan) -> Volume:
    """Turn an array (Z, Y, X) with axes to head, front and right as the file has it."""
    ras = array.transpose(2, 1, 0)
    affine = np.diag([*scan.spacing, 1.0])
    affine[:3, 3] = np.add(scan.start, scan.origin)
    turn = ornt_transform(nib.orientations.io_orientation(affine), axcodes2ornt(scan.orientation))
    return Volume(apply_orientation(ras, turn), affine @ inv_ornt_aff(turn, ras.shape))
