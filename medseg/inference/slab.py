"""Scores of the network's slices onto the native grid, slab by slab along the axis.

What the network gives is kept at its own size, and only until the native slices between two of its
slices are done. On the native grid there are never more scores than one slab has; if those of a
single slice are too many, the classes are looked at in groups.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from medseg.inference.grids import Placing, plane_grid, sample
from medseg.inference.slices import labels_of, sampling_grids
from medseg.loading.geometry import PatchGeometry, SliceGeometry

Scores = Iterable[tuple[int, torch.Tensor]]
Onto = Callable[[torch.Tensor], torch.Tensor]
SLAB_BYTES = 64 * 2**20  # of scores on the native grid: what is quick, more is not quicker


def native_slabs(
    batches: Scores, placing: Placing, depth: int, native_depth: int, thick: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Scores between the network's slices, at the network's size.

    Args:
        batches: First slice and scores (B, C, H, W), in order, without gaps.
        placing: Of the native grid in that of the slices.
        depth: Slices in all.
        native_depth: Native slices in all.
        thick: Native slices to hand out at once, at most.

    Yields:
        First native slice, and scores (n, C, H, W) of it and those after it.
    """
    low, high, weight = placing.along_z(np.arange(native_depth), depth)
    held, first, done = torch.empty(0), 0, 0
    for start, scores in batches:
        ready = int(np.searchsorted(high, start + len(scores)))
        held = torch.cat([held, scores]) if len(held) else scores
        del scores  # what is done with goes before the network makes more
        for index in range(done, ready, thick):
            part = slice(index, min(index + thick, ready))
            yield index, _between(held, low[part] - first, high[part] - first, weight[part])
        done = ready
        end = first + len(held)
        needed = end if done == native_depth else min(int(low[done]), end)
        held, first = held[needed - first :].clone(), needed  # the view would hold all of them


def in_plane(
    geometry: SliceGeometry | PatchGeometry, slice_shape: tuple[int, int], placing: Placing,
    native_shape: tuple[int, int], device: str | torch.device,
) -> Onto:  # fmt: skip
    """What takes scores (n, C, H, W) of the network onto native pixels (n, C, X, Y).

    Those of patches are on the slices' own pixels already.
    """
    steps = [plane_grid(slice_shape, placing, native_shape)]
    if isinstance(geometry, SliceGeometry):
        steps.insert(0, sampling_grids(geometry, slice_shape)[1])
    grids = [grid.to(device) for grid in steps if grid is not None]

    def onto(scores: torch.Tensor) -> torch.Tensor:
        for grid in grids:
            scores = sample(scores, grid, "border")
        return scores

    return onto


def classes_of(scores: torch.Tensor, onto: Onto, group: int) -> torch.Tensor:
    """Class of every native pixel, (n, X, Y); no more than ``group`` classes at once.

    The grouping changes no label: of equal scores the first class's wins.
    """
    count = scores.shape[1]
    if group >= count:
        return labels_of(onto(scores))
    best, classes = onto(scores[:, :group]).max(dim=1)
    for start in range(group, count, group):
        values, indices = onto(scores[:, start : start + group]).max(dim=1)
        better = values > best
        classes[better] = indices[better] + start
        best = torch.maximum(best, values)
    return classes


def slab_size(pixels: int, classes: int, slab_bytes: int) -> tuple[int, int]:
    """How many native slices, and how many classes of them, fit into a slab.

    Args:
        pixels: Of a slice: the larger of the native one and the prepared one.
        classes: Channels of the network's output.
        slab_bytes: For scores on the native grid, the steps on the way included.
    """
    plane = 4 * pixels * 3  # float32: sampled, resampled, and what finding the best takes
    fitting = max(1, slab_bytes // plane)
    return max(1, fitting // classes), min(classes, fitting)


def _between(
    held: torch.Tensor, low: np.ndarray, high: np.ndarray, weight: np.ndarray
) -> torch.Tensor:
    if not weight.any():
        contiguous = bool((np.diff(low) == 1).all())
        return held[int(low[0]) : int(low[-1]) + 1] if contiguous else held[torch.as_tensor(low)]
    below, above = held[torch.as_tensor(low)], held[torch.as_tensor(high)]
    weights = torch.from_numpy(weight).to(held.device)
    return torch.lerp(below, above, weights[:, None, None, None])
