"""A picture per predicted case: three planes through the organs, with contours."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.case import Source
from medseg.errors import InputError
from medseg.files import atomic_path, read_json
from medseg.jobs import Progress, silent
from medseg.report.anatomy import class_map, grey_window, radiological, to_grey, to_ras
from medseg.report.colours import organ_colours
from medseg.volumes import Volume, corner_distance_mm, read_volume

MANIFEST, SUFFIX = "predictions.json", ".png"
ON_THE_GRID = 0.1  # how far a corner may be off, in the smallest distance between voxels
INCHES, DPI = 4.2, 100  # of one plane
PLANES = ("sagittal", "coronal", "axial")  # by the axis that they cut


@dataclass(frozen=True)
class Plane:
    """One plane of a case as a picture: head or front at the top, the patient's right left.

    Attributes:
        name: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        grey: Grey levels 0 to 255, shape (H, W).
        classes: Classes, same shape; class k is the k-th organ.
        aspect: Height of a pixel over its width.
    """

    name: str
    grey: np.ndarray
    classes: np.ndarray
    aspect: float


def preview(folder: str | Path, progress: Progress = silent) -> dict[str, str]:
    """Draw every case of a folder of label maps whose picture is missing or older than it.

    Args:
        folder: What ``predict`` wrote.
        progress: Hears of every picture.

    Returns:
        Case id → why it has no picture, for those that have none.

    Raises:
        InputError: If the folder has no ``predictions.json``.
        ResourceError: If the disk is full.
    """
    folder = Path(folder)
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("cases"), list):
        raise InputError(folder / MANIFEST, "a manifest of predictions", type(manifest).__name__)
    cases = [case for case in manifest["cases"] if case.get("status") == "done"]
    failed: dict[str, str] = {}
    for done, case in enumerate(cases, 1):
        label_map = folder / case["prediction"]
        picture = folder / f"{case['case_id']}{SUFFIX}"
        try:
            if not _is_newer(picture, label_map):
                draw(
                    picture, _source(case["image"]), label_map, manifest["labels"],
                    series_uid=manifest.get("settings", {}).get("series_uid"),
                )  # fmt: skip
        except (InputError, OSError, ValueError) as error:
            failed[case["case_id"]] = str(error)
        progress("Drawing", done, len(cases), case["case_id"])
    return failed


def draw(
    picture: Path,
    image: Source,
    label_map: Path,
    labels: Mapping[str, int],
    *,
    series_uid: str | None = None,
) -> None:
    """Draw one case as PNG: axial, coronal and sagittal plane, organs outlined and named.

    Args:
        picture: File to write.
        image: The scan.
        label_map: Its label map, on the same grid.
        labels: Organ → value.
        series_uid: Which DICOM series of the scan, where its folder or zip holds several.

    Raises:
        InputError: If a file cannot be read, or the grids differ.
    """
    planes = _planes(read_volume(image, series_uid=series_uid), label_map, labels)
    colours = list(organ_colours(labels).values())
    figure = Figure(figsize=(INCHES * len(planes), INCHES * 1.15), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    shown: set[int] = set()
    for axes, plane in zip(figure.subplots(1, len(planes)), planes, strict=True):
        axes.imshow(plane.grey, cmap="gray", vmin=0, vmax=255, aspect=plane.aspect)
        axes.set_title(plane.name, color="white", fontsize=10)
        axes.set_axis_off()
        present = [k for k in range(1, len(colours) + 1) if (plane.classes == k).any()]
        for k in present:
            mask = np.pad(plane.classes == k, 1).astype(float)  # outlines close at the edge
            rows, columns = (np.arange(-1, size + 1) for size in plane.classes.shape)
            axes.contour(columns, rows, mask, levels=[0.5], colors=[colours[k - 1]], linewidths=1.2)
        shown.update(present)
    names = list(labels)
    handles = [Line2D([], [], color=colours[k - 1], label=names[k - 1]) for k in sorted(shown)]
    if handles:
        figure.legend(
            handles=handles, loc="lower center", ncols=8, fontsize=8, frameon=False,
            labelcolor="white",
        )  # fmt: skip
    figure.subplots_adjust(0.01, 0.1, 0.99, 0.93, 0.02)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, facecolor="black")


def _planes(image: Volume, label_map: Path, labels: Mapping[str, int]) -> list[Plane]:
    scan, found = to_ras(image), to_ras(read_volume(label_map, "label"))
    if scan.array.shape != found.array.shape:
        wanted = f"a label map on the grid {scan.array.shape} of its image"
        raise InputError(label_map, wanted, f"shape {found.array.shape}")
    of_scan, of_found = (Volume(one.array, one.affine) for one in (scan, found))
    distance = corner_distance_mm(of_scan, of_found, scan.array.shape)
    if not distance <= ON_THE_GRID * min(image.spacing):
        wanted = "a label map on the grid of its image"
        raise InputError(label_map, wanted, f"one {distance:.2f} mm away")
    window, _ = grey_window(scan.array)
    classes = class_map(found.array, {organ: (value,) for organ, value in labels.items()})
    place, planes = _middle(classes), []
    for axis in (2, 1, 0):
        across, up = (scan.spacing[other] for other in range(3) if other != axis)
        grey = to_grey(radiological(scan.array.take(place[axis], axis)), window)
        cut = radiological(classes.take(place[axis], axis))
        planes.append(Plane(PLANES[axis], grey, cut, up / across))
    return planes


def _middle(classes: np.ndarray) -> tuple[int, int, int]:
    """A voxel in the axial slice with most organs, in the middle of them."""
    depth, count = classes.shape[2], int(classes.max(initial=0)) + 1
    planes = (classes[:, :, k].ravel() for k in range(depth))
    areas = np.stack([np.bincount(plane, minlength=count)[1:] for plane in planes], axis=1)
    if not areas.any():
        x, y, z = (size // 2 for size in classes.shape)
        return x, y, z
    z = max(range(depth), key=lambda k: ((areas[:, k] > 0).sum(), areas[:, k].sum()))
    x, y = np.median(np.argwhere(classes[:, :, z] > 0), axis=0).astype(int)
    return int(x), int(y), int(z)


def _is_newer(picture: Path, label_map: Path) -> bool:
    return picture.is_file() and picture.stat().st_mtime_ns >= label_map.stat().st_mtime_ns


def _source(noted: str | list[str]) -> Source:
    return tuple(map(Path, noted)) if isinstance(noted, list) else Path(noted)
