"""Maps drawn over the slice they belong to, and views of networks, as PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from medseg.files import atomic_path
from medseg.report.anatomy import grey_window, radiological, to_grey, to_ras
from medseg.volumes import Volume

INCHES, DPI, TITLE = 2.6, 110, 0.35  # of one picture; height of the title in inches
COLOURS, OUTLINE = "inferno", "#4ade80"
BRIGHTEST = 99.5  # percentile of a map that gets the last colour
COLUMNS = 5
TITLE_LETTER = 0.085  # inches, of the titles' 10 points


@dataclass(frozen=True)
class Backdrop:
    """A slice of a scan with the target's outline.

    Attributes:
        grey: Grey levels 0 to 255, shape (row, column), seen from the feet.
        region: Where the target is, 0 to 1, same shape.
        aspect: Height of a pixel over its width.
    """

    grey: np.ndarray
    region: np.ndarray
    aspect: float


def backdrop(scan: Volume, region: Volume, slice_index: int) -> Backdrop:
    """The slice of a scan, and of the target on the same grid; the index is the RAS one."""
    image = to_ras(scan)
    window, _ = grey_window(image.array)
    grey = to_grey(radiological(image.array[:, :, slice_index]), window)
    across, up, _ = image.spacing
    return Backdrop(grey, axial(region, slice_index), up / across)


def axial(volume: Volume, slice_index: int) -> np.ndarray:
    """A slice of a map, as it is drawn."""
    return radiological(to_ras(volume).array[:, :, slice_index])


def draw_maps(
    path: Path,
    behind: Backdrop,
    maps: Mapping[str, np.ndarray],
    *,
    title: str,
    columns: int = COLUMNS,
    plain: bool = True,
    inches: float = INCHES,
) -> None:
    """Draw maps side by side over the scan, the target outlined, each from 0 to its maximum.

    Args:
        path: PNG to write.
        behind: What they are drawn over.
        maps: Title → map, as :func:`axial` gives it; what is below 0 is not coloured.
        title: Over all of them.
        columns: Pictures in a row.
        plain: Whether the scan alone comes first.
        inches: Width of one picture.
    """
    pictures: dict[str, np.ndarray | None] = {"image and target": None} if plain else {}
    pictures.update(maps)
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = inches * behind.aspect * behind.grey.shape[0] / behind.grey.shape[1]
    total = (height + 0.34) * rows + TITLE
    figure = Figure((inches * columns, total), DPI, facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (name, found) in zip(grid, pictures.items(), strict=False):
        _draw(axes, behind, found)
        axes.set_title(name, color="white", fontsize=min(9, 4 * inches), pad=3)
    for axes in grid:
        axes.set_axis_off()
    for axes in figure.axes:
        axes.set_axis_off()
    figure.suptitle(title, color="white", fontsize=10)
    figure.tight_layout(pad=0.4, rect=(0, 0, 1, 1 - TITLE / total))
    _save_in_few_colours(path, figure)


def draw_tiles(
    path: Path,
    tiles: np.ndarray,
    *,
    title: str,
    columns: int,
    colours: str = "viridis",
    inches: float = 1.0,
) -> None:
    """Draw small pictures in rows and columns, all on one scale.

    Args:
        path: PNG to write.
        tiles: Shape (n, row, column), or (n, row, column, 3) for colours of their own.
        title: Over all of them.
        columns: Tiles in a row.
        colours: Name of a colour map.
        inches: Side of a tile.
    """
    rows = -(-len(tiles) // columns)
    total = inches * rows + TITLE
    width = max(inches * columns, len(title) * TITLE_LETTER)
    figure = Figure((width, total), DPI, facecolor="white")
    FigureCanvasAgg(figure)
    scale = Normalize(float(tiles.min()), float(tiles.max()))
    for axes, tile in zip(figure.subplots(rows, columns, squeeze=False).flat, tiles, strict=False):
        axes.imshow(tile, cmap=colours, norm=None if tile.ndim == 3 else scale)
    for axes in figure.axes:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=10)
    figure.tight_layout(pad=0.3, rect=(0, 0, 1, 1 - TITLE / total))
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def draw_distances(path: Path, distances: np.ndarray, names: Sequence[str]) -> None:
    """Draw the attention distance of every head over the layers; shape (L, M), in pixels."""
    figure = Figure((6, 4), DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for head in distances.T:
        axes.plot(range(len(names)), head, "o", color="#3b82f6", alpha=0.7)
    axes.plot(range(len(names)), np.nanmean(distances, axis=1), color="#e5484d", label="mean")
    axes.set_xlabel("layer")
    axes.set_ylabel("mean attention distance in pixels")
    axes.set_ylim(0, 1.1 * np.nanmax(distances))
    axes.set_xticks(range(len(names)))
    axes.legend(frameon=False)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def draw_skips(path: Path, skips: Sequence[Mapping[str, Any]], organ: str) -> None:
    """Draw what each way to the decoder is worth to a target, as ``skips_of`` gives them."""
    figure = Figure((7, 1.2 + 0.5 * len(skips)), DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = np.arange(len(skips))
    names = [f"{one['name']}, {' × '.join(map(str, one['grid']))}" for one in skips]
    bars = (("share", "lost without it", -0.2), ("alone", "left with it alone", 0.2))
    for kind, label, shift in bars:
        values = [float("nan") if one[kind] is None else one[kind] for one in skips]
        axes.barh(places + shift, values, height=0.38, label=label)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"share of what all ways together give the logit of {organ}")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _save_in_few_colours(path: Path, figure: Figure) -> None:
    """As PNG of 256 colours, a third of the size: noise in scans hardly compresses otherwise."""
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])  # type: ignore[attr-defined]
    with atomic_path(path) as temporary:
        picture.quantize(256, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)


def _draw(axes: Any, behind: Backdrop, found: np.ndarray | None) -> None:
    axes.imshow(behind.grey, cmap="gray", vmin=0, vmax=255, aspect=behind.aspect)
    if found is not None:
        shown = np.clip(found, 0, None)
        top = float(np.percentile(shown, BRIGHTEST)) or float(shown.max()) or 1.0
        shown = (shown / top).clip(0, 1)
        axes.imshow(shown, cmap=COLOURS, vmin=0, vmax=1, alpha=0.75 * shown, aspect=behind.aspect)
    if behind.region.max() > 0.5:
        axes.contour(behind.region, levels=[0.5], colors=[OUTLINE], linewidths=1.0)
