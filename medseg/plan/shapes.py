"""Spacing, strides and patch sizes from plain numbers; axes are left-right, back-front, feet-head.

The idea is nnU-Net's (Isensee et al., Nature Methods 18, 2021): resample to the usual spacing, let
the patch look like the usual volume, and leave a thick axis alone until the others are as coarse.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.datasets.fingerprint import Fingerprint
from medseg.plan.said import Said

THICK = 3.0  # an axis so many times coarser than the finest is thick
SIMILAR = 2.0  # axes closer than this are halved together
THICK_PERCENTILE = 10
DEEPEST = 4  # voxels that must be left of an axis after a step
FEW_SLICES, FLATTEST = 16, 8.0  # fewer slices, or so many times thicker than pixels: 2D
LEAST_CELLS = 2  # places along each axis at the coarsest level of the smallest patch
LARGEST_SHARE = 0.05  # of the data set's voxels in a batch
Strides = list[list[int]]


@dataclass(frozen=True)
class Grid:
    """The grid that volumes are brought to.

    Attributes:
        spacing: In mm.
        shape: Voxels of the median volume on it.
        thick: The axis that is much coarser than the finest, if there is one.
    """

    spacing: Said
    shape: tuple[int, int, int]
    thick: int | None


def choose_grid(found: Fingerprint) -> Grid:
    """The median spacing; along a thick axis a finer one, so that thin-sliced cases keep detail."""
    spacings = np.array(found.spacings, dtype=float)
    target = np.median(spacings, axis=0)
    thickest = int(target.argmax())
    thick = thickest if target[thickest] >= THICK * target.min() else None
    why = f"mm, median spacing of {_cases(found.num_cases)}"
    if np.allclose(spacings, spacings[0], rtol=1e-3):
        why = f"mm, the same in {_cases(found.num_cases)}"
    elif thick is not None:
        low = np.percentile(spacings[:, thick], THICK_PERCENTILE)
        target[thick] = max(low, np.delete(target, thick).max())
        why += f"; {THICK_PERCENTILE}th percentile along the thick axis"
    target = np.array([float(f"{length:.4g}") for length in target])
    x, y, z = np.median(np.array(found.shapes) * spacings / target, axis=0).round().astype(int)
    shape = (max(1, int(x)), max(1, int(y)), max(1, int(z)))
    return Grid(Said([float(length) for length in target], why), shape, thick)


def choose_dims(grid: Grid) -> tuple[Literal[2, 3], str]:
    """Whether slices or patches suit the volumes, and why."""
    slices, spacing = grid.shape[2], grid.spacing.value
    ratio = spacing[2] / min(spacing)
    if grid.thick not in (None, 2):
        return 3, "the thick axis is not the one that slices are cut along"
    if slices < FEW_SLICES:
        return 2, f"the median volume has {slices} slices, fewer than {FEW_SLICES}"
    if ratio >= FLATTEST:
        return 2, f"slices are {ratio:.0f} times as far apart as pixels"
    return 3, f"{slices} slices, {ratio:.2g} times as far apart as pixels"


def choose_strides(grid: Grid, most: int) -> Said:
    """The step along each axis from level to level, at most so many levels down.

    An axis is halved while it keeps :data:`DEEPEST` voxels and is not twice as coarse as the
    finest that can still be halved.
    """
    spacing, size = np.array(grid.spacing.value, dtype=float), np.array(grid.shape, dtype=float)
    strides: Strides = []
    while len(strides) < most:
        large = np.ceil(size / 2) >= DEEPEST
        if not large.any():
            break
        halved = large & (spacing < SIMILAR * spacing[large].min())
        step = np.where(halved, 2, 1)
        strides.append([int(length) for length in step])
        spacing, size = spacing * step, np.ceil(size / step)
    coarsest = " × ".join(f"{length:.3g}" for length in spacing)
    why = f"down to {coarsest} mm"
    if grid.thick is not None:
        why += ", the thick axis only once the others are as coarse"
    return Said(strides or [[1, 1, 1]], why)


def multiple_of(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """What a patch's sides must be multiples of."""
    return tuple(int(n) for n in np.prod(np.array(strides), axis=0))


def patches(shape: Sequence[int], multiple: Sequence[int]) -> list[tuple[int, ...]]:
    """Patch sizes from one that holds the median volume to the smallest, each within the last.

    Every step shortens the side that is longest for the volume's shape, so that patches look like
    it; the smallest has :data:`LEAST_CELLS` places of the coarsest level along each axis.
    """
    return list(_shrinking(shape, multiple))


def _shrinking(shape: Sequence[int], multiple: Sequence[int]) -> Iterator[tuple[int, ...]]:
    cells = [math.ceil(size / step) for size, step in zip(shape, multiple, strict=True)]
    least = [min(LEAST_CELLS, count) for count in cells]
    while True:
        patch = [count * step for count, step in zip(cells, multiple, strict=True)]
        yield tuple(patch)
        longest = sorted(range(len(cells)), key=lambda a: (-patch[a] / shape[a], -patch[a], a))
        axis = next((a for a in longest if cells[a] > least[a]), None)
        if axis is None:
            return
        cells[axis] -= 1


def largest_within(
    sizes: Sequence[tuple[int, ...]], needs: Callable[[tuple[int, ...]], float], limit: float
) -> tuple[int, ...] | None:
    """The first of ``sizes``, largest first, that needs no more than ``limit``; None if none does.

    Halves its way, so ``needs`` must not grow from one size to the next.
    """
    low, high = 0, len(sizes)  # all before low are too large, high fits
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if needs(sizes[middle]) <= limit else (middle + 1, high)
    return sizes[low] if low < len(sizes) else None


def largest_batch(voxels: int, found: Fingerprint, *, least: int, most: int) -> int:
    """The most patches or slices of so many voxels in a batch, memory aside."""
    total = sum(math.prod(shape) for shape in found.shapes)
    return max(least, min(most, int(LARGEST_SHARE * total / voxels)))


def choose_epochs(num_cases: int, draws: int, batch_size: int) -> tuple[Said, Said]:
    """Batches per epoch and epochs, so that each case is drawn from about ``draws`` times."""
    total = min(25_000, max(400, math.ceil(num_cases * draws / batch_size)))
    length = min(250, max(20, total // 20))
    epochs = max(1, round(total / length))
    why = f"{_cases(num_cases)}, each drawn from about {epochs * length * batch_size // num_cases}"
    return (
        Said(length, "a validation's worth of iterations"),
        Said(epochs, f"{epochs * length} iterations: {why} times"),
    )


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"
