"""Slices of a scan with maps over them, in 8 bits, as they stand in a page of explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from medseg.report.anatomy import Oriented, grey_window, radiological, to_grey, to_ras
from medseg.report.pictures import outline, webp
from medseg.volumes import Volume

BRIGHTEST = 99.5  # percentile of a map that gets the last colour
PICTURE_SIDE, MAP_SIDE = 512, 256  # pixels at most; networks see no more of a slice than that
LOSSLESS = 101
SHRINKS = (1.0, 1.4, 2.0, 2.8, 4.0)  # of the sides, one after the other until the page fits
STRIDES = (2, 3, 4, 6, 8, 12, 16)  # then only every second, third, … slice


@dataclass(frozen=True)
class Heads:
    """Raw attention of every layer and head for the target, on the grid of tokens.

    Attributes:
        layers: Names of the layers, first layer first.
        counts: Heads of each.
        weights: RAS slice → one array per layer, shape (heads, row, column) as a picture is seen.
        first: Row and column, in pixels of the picture, of the first token's centre.
        step: Pixels from one token to the next along rows and columns; negative if they run back.
        area: What the network saw of a picture: from row to row and from column to column.
    """

    layers: list[str]
    counts: list[int]
    weights: dict[int, list[np.ndarray]]
    first: tuple[float, float]
    step: tuple[float, float]
    area: tuple[float, float, float, float]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        rows, columns = next(iter(self.weights.values()))[0].shape[1:]
        return rows, columns

    def picture(self, ras: int, layer: int, head: int, size: tuple[int, ...]) -> np.ndarray:
        """A head over a slice of ``size`` rows and columns; 0 where the network saw nothing."""
        tokens: np.ndarray = self.weights[ras][layer][head]
        ends = self.area[:2], self.area[2:]
        for axis, (length, (start, end)) in enumerate(zip(size, ends, strict=True)):
            pixels, last = np.arange(length), tokens.shape[axis] - 1
            place = ((pixels - self.first[axis]) / self.step[axis]).clip(0, last)
            low = np.minimum(place.astype(int), max(last - 1, 0))
            share = np.expand_dims(place - low, 1 - axis)
            lower, upper = tokens.take(low, axis), tokens.take(np.minimum(low + 1, last), axis)
            seen = np.expand_dims((start <= pixels) & (pixels <= end), 1 - axis)
            tokens = ((1 - share) * lower + share * upper) * seen
        return tokens


@dataclass
class Overlays:
    """Axial slices of one scan with the maps that were made of them.

    Attributes:
        scan: In RAS order.
        slices: RAS indices of the slices shown, from the feet.
        window: Intensities of black and white.
        window_note: How they were chosen.
        outlines: Of the target in each slice, as SVG paths in pixels of the picture.
        together: Whether maps are scaled alike in all slices, as those of whole volumes are; else
            each slice by itself.
        maps: Method → maps (n, row, column), uint8; 255 is the 99.5th percentile.
        heads: Raw attention, if it was read.
    """

    scan: Oriented
    slices: list[int]
    window: tuple[float, float]
    window_note: str
    outlines: list[str]
    together: bool = False
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    heads: Heads | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a picture."""
        return self.scan.array.shape[1], self.scan.array.shape[0]

    def add(self, method: str, found: Volume) -> None:
        """Take the slices of a map that lies on the grid of the scan."""
        shown = np.stack([_pictured(found, index) for index in self.slices]).clip(min=0)
        tops = np.array([_top(one) for one in ([shown] if self.together else shown)])
        scaled = (shown / tops.reshape(-1, 1, 1)).clip(0, 1)
        self.maps[method] = (255 * scaled).round().astype(np.uint8)


def overlays(
    scan: Volume, region: Volume, slices: Sequence[int], *, together: bool = False
) -> Overlays:
    """Begin a page: slices of a scan and the outline of the target.

    Args:
        scan: As the file has it.
        region: Where the target is, 0 to 1, on the same grid.
        slices: RAS indices of the slices to show.
        together: Whether maps are scaled alike in all of them.
    """
    oriented, shown = to_ras(scan), sorted(set(slices))
    window, note = grey_window(oriented.array)
    outlines = [_outline(_pictured(region, index)) for index in shown]
    return Overlays(oriented, shown, window, note, outlines, together)


def packed(found: Overlays, limit: int) -> tuple[list[dict[str, Any]], str]:
    """Slices as WebP in base64, coarser and then fewer until they fit.

    Args:
        found: The slices and maps.
        limit: Characters that they may take.

    Returns:
        One entry per slice, and what was left out, in a sentence; empty if nothing was. If no try
        fits, the smallest one stands.
    """
    whole = range(len(found.slices))
    tries = [(shrink, 1) for shrink in SHRINKS] + [(SHRINKS[-1], stride) for stride in STRIDES]
    entries, note = list[dict[str, Any]](), ""
    for shrink, stride in tries:
        entries = [_packed(found, index, shrink) for index in whole[::stride]]
        note = _note(found, shrink, stride)
        if sum(map(_length, entries)) <= limit:
            break
    return entries, note


def _packed(found: Overlays, index: int, shrink: float) -> dict[str, Any]:
    ras = found.slices[index]
    grey = to_grey(radiological(found.scan.array[:, :, ras]), found.window)
    entry = {
        "file": found.scan.file_index(ras),
        "mm": round(found.scan.position_mm(ras), 1),
        "grey": webp(_smaller(grey, PICTURE_SIDE / shrink)),
        "outline": found.outlines[index],
        "maps": [webp(_smaller(maps[index], MAP_SIDE / shrink)) for maps in found.maps.values()],
    }
    if found.heads is not None and ras in found.heads.weights:
        entry |= _packed_heads(found.heads, ras)
    return entry


def _packed_heads(heads: Heads, ras: int) -> Mapping[str, Any]:
    """All heads as the tiles of one picture, each up to its largest number, and these."""
    rows, columns = heads.grid
    tiles = np.zeros((len(heads.layers), rows, max(heads.counts), columns), dtype=np.uint8)
    tops = []
    for layer, weights in enumerate(heads.weights[ras]):
        largest = weights.max(axis=(1, 2), initial=0)
        scaled = weights / np.where(largest > 0, largest, 1)[:, None, None]
        tiles[layer, :, : len(weights)] = (255 * scaled).round().swapaxes(0, 1)
        tops.append([float(f"{top:.3g}") for top in largest])
    picture = tiles.reshape(len(tiles) * rows, -1)
    return {"heads": webp(picture, LOSSLESS), "tops": tops}


def _note(found: Overlays, shrink: float, stride: int) -> str:
    parts = []
    rows, columns = found.size
    picture = min(1.0, PICTURE_SIDE / shrink / max(rows, columns))
    if picture < 1:
        size = f"{round(columns * picture)} × {round(rows * picture)}"
        parts.append(f"slices are shown with {size} instead of {columns} × {rows} pixels")
    if stride > 1:
        parts.append(f"only one in {stride} of the slices explained is shown")
    return f"To keep the page small, {' and '.join(parts)}." if parts else ""


def _length(entry: Mapping[str, Any]) -> int:
    tops = str(entry.get("tops", ""))
    texts = (entry["grey"], entry["outline"], *entry["maps"], entry.get("heads", ""), tops)
    return sum(map(len, texts))


def _smaller(picture: np.ndarray, side: float) -> np.ndarray:
    factor = side / max(picture.shape)
    if factor >= 1:
        return np.ascontiguousarray(picture)
    height, width = (max(1, round(length * factor)) for length in picture.shape)
    smaller: np.ndarray = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return smaller


def _pictured(volume: Volume, ras: int) -> np.ndarray:
    return radiological(to_ras(volume).array[:, :, ras])


def _outline(region: np.ndarray) -> str:
    """Where a region falls to half of its largest number: the target may be one small voxel."""
    top = float(region.max(initial=0))
    return outline(region / top) if top > 0 else ""


def _top(found: np.ndarray) -> float:
    return float(np.percentile(found, BRIGHTEST)) or float(found.max()) or 1.0
