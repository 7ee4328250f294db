"""Normalised surface distance: how much of two surfaces lies close together, by area."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medseg.metrics.crops import Crop, Grid, Pair, pair_of_masks
from medseg.metrics.distances import nearest_mm

# Marching cubes on eight voxels: which are inside (the others, or any turn or mirror image of the
# same, give the same surface), and the triangles between them, each by eight times the absolute
# components of its normal, whose length is the triangle's area on a cube of side 1.
TRIANGLES: dict[tuple[str, ...], tuple[tuple[int, int, int], ...]] = {
    ("000",): ((1, 1, 1),),
    ("000", "001"): ((2, 2, 0),) * 2,
    ("000", "011"): ((1, 1, 1),) * 2,
    ("000", "111"): ((1, 1, 1),) * 2,
    ("000", "001", "010"): ((4, 0, 0), (1, 1, 1), (2, 2, 2)),
    ("000", "011", "101"): ((1, 1, 1),) * 3,
    ("000", "001", "110"): (*((2, 2, 0),) * 2, (1, 1, 1)),
    ("000", "001", "010", "011"): ((4, 0, 0),) * 2,
    ("000", "001", "010", "100"): (*((1, 1, 1),) * 2, *((2, 2, 2),) * 2),
    ("000", "001", "010", "101"): ((1, 1, 1), (3, 3, 3), (0, 2, 2), (2, 0, 2)),
    ("000", "001", "010", "111"): ((4, 0, 0), *((1, 1, 1),) * 2, (2, 2, 2)),
    ("000", "001", "110", "111"): ((2, 2, 0),) * 4,
    ("000", "011", "101", "110"): ((1, 1, 1),) * 4,
}


@dataclass(frozen=True)
class Elements:
    """Surface elements of two masks: how large each is, how far from the other surface.

    Attributes:
        distances: In mm, from the prediction's elements and from the label's, each shape (N,).
        sizes: Their areas in mm², or lengths in mm where the masks are 2D, in the same order.
    """

    distances: tuple[np.ndarray, np.ndarray]
    sizes: tuple[np.ndarray, np.ndarray]


def nsd(
    pred: np.ndarray, label: np.ndarray, spacing: Sequence[float], tolerance_mm: float
) -> float:
    """Normalised surface distance (NSD, surface Dice) of one organ in one case.

    The share of both surfaces that lies no farther than a tolerance from the other one. The
    surface runs between the voxels: wherever two by two by two neighbours (in 2D, two by two)
    are neither all inside nor all outside, marching cubes say how much of it passes there.

    Args:
        pred: Predicted mask of one organ, bool, shape (H, W) or (D, H, W).
        label: Reference mask of the same organ, bool, same shape.
        spacing: Distance between voxel centres along each array axis, in mm.
        tolerance_mm: What counts as close, in mm; a distance that equals it does.

    Returns:
        Between 0 and 1: 0 if only one mask is empty, ``nan`` if both are.

    Raises:
        ValueError: If shapes, dtype or the length of ``spacing`` do not fit together, the masks
            have other than two or three axes, or the tolerance is no length.

    Source:
        Nikolov et al., arXiv:1809.04430; ``compute_surface_dice_at_tolerance`` of DeepMind's
        ``surface-distance``, whose elements these are.
    """
    check_tolerance(tolerance_mm)
    pair = pair_of_masks(pred, label, spacing)
    if pair.status != "scored":
        return float("nan") if pair.status == "absent" else 0.0
    return share_within(elements(pair), tolerance_mm)


def check_tolerance(tolerance_mm: float) -> None:
    """Refuse a tolerance that is no length.

    Raises:
        ValueError: Naming what was given.
    """
    if not np.isfinite(tolerance_mm) or tolerance_mm < 0:
        raise ValueError(f"tolerance_mm must be a length in mm, 0 or more, got {tolerance_mm}")


def elements(pair: Pair) -> Elements:
    """The surface elements of both masks, neither of which may be empty."""
    sizes = sizes_of_codes(pair.grid)
    (pred, pred_codes), (label, label_codes) = _coded(pair.pred), _coded(pair.label)
    distances = nearest_mm(pred, label, pair.grid), nearest_mm(label, pred, pair.grid)
    return Elements(distances, (sizes[pred_codes], sizes[label_codes]))


def share_within(found: Elements, tolerance_mm: float) -> float:
    """NSD from the surface elements."""
    close = sum(
        float(sizes[distances <= tolerance_mm].sum())
        for distances, sizes in zip(found.distances, found.sizes, strict=True)
    )
    return close / sum(float(sizes.sum()) for sizes in found.sizes)


@lru_cache(maxsize=32)  # every organ of a case asks for the same
def sizes_of_codes(grid: Grid) -> np.ndarray:
    """Area in mm² (2D: length in mm) of the surface among neighbours, by their code.

    Returns:
        Shape (256,), in 2D (16,). Bit i + 2 j (+ 4 k) of a code says whether the neighbour with
        index i, j (, k) of 0 or 1 along each axis is inside.
    """
    if len(grid.spacing) == 2:
        return _lengths(grid.spacing)
    a, b, c = grid.spacing
    scale = np.array([b * c, a * c, a * b]) / 8
    sizes = np.zeros(256)
    for corners, triangles in TRIANGLES.items():
        places = np.array([[int(digit) for digit in corner] for corner in corners])
        for axes in itertools.permutations(range(3)):
            normals = np.array(triangles)[:, axes] * scale
            area = float(np.sqrt((normals**2).sum(axis=1)).sum())
            for flips in itertools.product((0, 1), repeat=3):
                code = int((2 ** ((places[:, axes] ^ flips) @ [1, 2, 4])).sum())
                sizes[[code, 255 - code]] = area
    sizes.flags.writeable = False
    return sizes


def _lengths(spacing: Sequence[float]) -> np.ndarray:
    along, across = spacing
    corner = float(np.hypot(along, across)) / 2
    sizes = np.full(16, corner)  # one neighbour inside, or all but one
    sizes[[0b0000, 0b1111]] = 0
    sizes[[0b0011, 0b1100]] = along
    sizes[[0b0101, 0b1010]] = across
    sizes[[0b0110, 0b1001]] = 2 * corner
    return sizes


def _coded(crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Where a surface passes, shape (axes, N), and the codes of the neighbours there, (N,)."""
    found, codes = [], []
    count = crop.mask.shape[0]
    for first, slab in crop.slabs():
        is_last = first + slab.shape[0] - 2 == count
        code = (slab if is_last else slab[:-1]).view(np.uint8)  # the next one has those behind
        for axis in range(slab.ndim):
            pairs = np.moveaxis(code, axis, 0)
            code = np.moveaxis(pairs[:-1] | pairs[1:] * np.uint8(1 << (1 << axis)), 0, axis)
        all_inside = (1 << (1 << slab.ndim)) - 1
        flat = code.reshape(-1)
        places = np.flatnonzero((flat > 0) & (flat < all_inside))
        codes.append(flat[places])
        index = np.stack(np.unravel_index(places, code.shape))
        index[0] += first
        found.append(index)
    return np.concatenate(found, axis=1) + np.reshape(crop.origin, (-1, 1)), np.concatenate(codes)
