"""Axial slices of one case with the contours of truth and prediction, as parts of a page.

A picture is a grey scan (WebP) with the contours over it as vector paths, so that they stay sharp
at any size and can be switched off one by one.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from medseg.errors import MedsegError
from medseg.report.anatomy import choose_slices, organ_mask, radiological, to_grey
from medseg.report.embed import Volumes, embed
from medseg.report.scene import Scene, read_scene
from medseg.report.tables import CaseRow, Results

MARGIN_MM = 40.0  # shown around the organs
WEBP_QUALITY = 88
TOO_LARGE = "No viewer: the volumes of this case are too large for a page of this size."
BARS_MM = (200, 100, 50, 20, 10, 5, 2, 1)


@dataclass(frozen=True)
class Contour:
    """The outlines of one organ in one slice.

    Attributes:
        organ: Its name.
        colour: ``#rrggbb``.
        truth: Outline of the reference as an SVG path in pixels; empty if it is not here.
        prediction: The same of the prediction.
        number: Place of the organ in the legend.
        anchor: Where the number stands, in percent of width and height.
    """

    organ: str
    colour: str
    truth: str
    prediction: str
    number: int
    anchor: tuple[float, float]


@dataclass(frozen=True)
class SlicePicture:
    """One axial slice.

    Attributes:
        caption: What it shows and where it lies.
        grey: WebP as base64, empty if there is no image.
        size: Width and height in pixels.
        size_mm: Width and height in millimetres.
        contours: One per organ that is in the slice.
        bar_mm: Length of the scale bar.
    """

    caption: str
    grey: str
    size: tuple[int, int]
    size_mm: tuple[float, float]
    contours: list[Contour]
    bar_mm: int


@dataclass(frozen=True)
class CasePictures:
    """One case to look at.

    Attributes:
        heading: Why it is shown: ``"Worst case"``.
        row: Its figures.
        slices: Its pictures, lowest first.
        volumes: The volumes for the viewer, if any are wanted and fit.
        notices: What could not be shown, and why.
    """

    heading: str
    row: CaseRow
    slices: list[SlicePicture] = field(default_factory=list)
    volumes: list[Volumes] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def case_pictures(
    heading: str,
    row: CaseRow,
    results: Results,
    colours: Mapping[str, str],
    folder: Path,
    *,
    viewer_bytes: int = 0,
) -> CasePictures:
    """Draw one case; a file that cannot be used becomes a notice instead of an error.

    Args:
        heading: Why the case is shown.
        row: The case.
        results: ``results.json``.
        colours: Organ → colour.
        folder: Where relative paths in the results start.
        viewer_bytes: How much of the page its volumes may take; 0 leaves them out.
    """
    pictures = CasePictures(heading, row)
    try:
        scene = read_scene(row.source, results["labels"], folder, pictures.notices)
        shown = choose_slices(scene.classes, scene.predicted)
        area = crop(scene, list(shown))
        pictures.slices.extend(
            picture(scene, slice_index, reasons, area, colours)
            for slice_index, reasons in shown.items()
        )
        if viewer_bytes:
            volumes = embed(scene, viewer_bytes)
            pictures.volumes.extend([] if volumes is None else [volumes])
            if volumes is None:
                pictures.notices.append(TOO_LARGE)
    except (MedsegError, OSError, ValueError, MemoryError) as error:
        pictures.notices.append(f"No slices of this case can be shown. {error}")
    return pictures


def crop(scene: Scene, slices: list[int]) -> tuple[slice, slice]:
    """The part of X and Y that holds the organs of the slices shown and a margin around them."""
    present = (scene.classes[:, :, slices] > 0) | (scene.predicted[:, :, slices] > 0)
    found = []
    for axis in (0, 1):
        size, spacing = scene.classes.shape[axis], scene.truth.spacing[axis]
        indices = np.flatnonzero(present.any(axis=(1 - axis, 2)))
        if not indices.size:
            found.append(slice(0, size))
            continue
        margin = round(MARGIN_MM / spacing)
        found.append(slice(max(0, indices[0] - margin), min(size, indices[-1] + 1 + margin)))
    return found[0], found[1]


def picture(
    scene: Scene,
    slice_index: int,
    reasons: list[str],
    area: tuple[slice, slice],
    colours: Mapping[str, str],
) -> SlicePicture:
    """Draw one axial slice.

    Args:
        scene: The case.
        slice_index: Along Z, from the feet.
        reasons: Why it is shown.
        area: The part of X and Y to show.
        colours: Organ → colour.
    """
    x, y = area
    truth = radiological(scene.truth.array[x, y, slice_index])
    predicted = radiological(scene.prediction.array[x, y, slice_index])
    grey = ""
    if scene.image is not None:
        grey = webp(to_grey(radiological(scene.image[x, y, slice_index]), scene.window))
    height, width = truth.shape
    spacing = scene.truth.spacing
    masks = {
        organ: (
            organ_mask(truth, scene.truth_values[organ]),
            organ_mask(predicted, scene.predicted_values[organ]),
        )
        for organ in colours
    }
    contours = [
        _contour(organ, colours[organ], number, *both)
        for number, (organ, both) in enumerate(masks.items(), start=1)
        if both[0].any() or both[1].any()
    ]
    wide, high = width * spacing[0], height * spacing[1]
    return SlicePicture(
        caption=_caption(scene, slice_index, reasons),
        grey=grey,
        size=(width, height),
        size_mm=(round(wide, 2), round(high, 2)),
        contours=contours,
        bar_mm=next((bar for bar in BARS_MM if bar <= wide / 4), BARS_MM[-1]),
    )


def _caption(scene: Scene, slice_index: int, reasons: list[str]) -> str:
    depth = scene.classes.shape[2]
    axial = (..., slice_index)
    differing = int((scene.classes[axial] != scene.predicted[axial]).sum())
    x, y, _ = scene.truth.spacing
    why = " and ".join(reasons)
    place = f"axial slice {slice_index + 1} of {depth} from below"
    index = f"index {scene.truth.file_index(slice_index)} on the file's axis"
    height = f"{scene.truth.position_mm(slice_index):.1f}".replace("-", "−")
    return (
        f"{why[0].upper()}{why[1:]}: {place} ({index} {'ijk'[scene.truth.file_axis]}), "
        f"z = {height} mm; {differing} voxels "
        f"({differing * x * y / 100:.1f} cm²) differ; {scene.window_note}"
    )


def _contour(
    organ: str, colour: str, number: int, truth: np.ndarray, predicted: np.ndarray
) -> Contour:
    height, width = truth.shape
    rows, columns = np.nonzero(truth if truth.any() else predicted)
    centre = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    anchor = (100 * (columns[centre] + 0.5) / width, 100 * (rows[centre] + 0.5) / height)
    return Contour(
        organ,
        colour,
        outline(truth),
        outline(predicted),
        number,
        (round(float(anchor[0]), 1), round(float(anchor[1]), 1)),
    )


def outline(mask: np.ndarray) -> str:
    """The outline of a mask (H, W) as an SVG path, in pixels from the picture's top left corner.

    The mask is of truth values, or of numbers from 0 to 1 that are outlined at a half.
    It runs half-way between the centres of pixels inside and outside.
    """
    if not mask.any():
        return ""
    padded = np.pad(mask.astype(np.float32), 1)  # so that outlines close at the picture's edge
    paths = Figure().subplots().contour(padded, levels=[0.5]).get_paths()
    rings = [np.asarray(ring) - 0.5 for path in paths for ring in path.to_polygons()]
    parts = ("L".join(f"{x:g},{y:g}" for x, y in _corners(ring)) for ring in rings)
    return "".join(f"M{part}Z" for part in parts)


def _corners(ring: np.ndarray) -> np.ndarray:
    """A closed ring without the points that lie on a straight line between their neighbours."""
    points = ring[:-1] if np.array_equal(ring[0], ring[-1]) else ring
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-6
    return points[bends] if bends.sum() > 2 else points


def webp(grey: np.ndarray, quality: int = WEBP_QUALITY) -> str:
    """Grey levels (H, W), uint8, as WebP in base64; a quality above 100 loses nothing."""
    done, data = cv2.imencode(".webp", grey, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ValueError("the slice cannot be written as WebP")
    return base64.b64encode(data.tobytes()).decode("ascii")
