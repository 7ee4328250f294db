"""Run a 3D network over a volume in overlapping windows, layer by layer from feet to head.

Windows lie as MONAI's ``sliding_window_inference`` lays them: a step is the share of their side
that does not overlap, and the last one is flush with the volume's end. Their logits are averaged
with Gaussian weights. Planes that no further window reaches are handed on, so that sums are only
ever kept for as many planes as a window is deep, however deep the volume is.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from torch import nn

from medseg.errors import ModelError
from medseg.inference.slices import PRECISIONS, Slices
from medseg.inference.window_sums import FileSums, MemorySums, WindowSums
from medseg.loading.geometry import PatchGeometry

HELD_BYTES = 2**29  # of sums in memory; more of them go to a file
HANDED_BYTES = 2**26  # of finished planes at once
SAMPLE_VOXELS = 2**20  # of windows to try a network on
AT_ONCE = 8  # slices to be made


def logits_of_windows(
    network: nn.Module,
    images: Slices,
    geometry: PatchGeometry,
    *,
    batch_size: int = 1,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    held_bytes: int | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first slice index, logits of axial slices, float32 (n, C, X, Y)) from the feet on.

    Args:
        network: Takes (B, 1, X, Y, Z), gives logits (B, C, X, Y, Z); put in ``eval()`` here and
            back afterwards.
        images: Prepared volume, axial slices first, shape (Z, X, Y), of any size.
        geometry: Size and overlap of the windows.
        batch_size: Windows per forward pass.
        device: Where the network runs.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"`` (autocast).
        held_bytes: If the sums take more than this they are kept in a file; ``None``: half a
            gigabyte, on a GPU half of what is free there. It changes no logit.

    Raises:
        ModelError: If the logits are not of the patch's size.
        DiskFullError: If there is no room for the sums.

    Source:
        ``monai.inferers.sliding_window_inference`` with ``mode="gaussian"`` and
        ``sigma_scale=0.125``; but volumes smaller than a window are padded at the end.
    """
    tiling = Tiling.of(images.shape, geometry)
    weights = importance(geometry.patch_size).to(device)
    held_bytes = most_held(device) if held_bytes is None else held_bytes
    was_training = network.training
    network.eval()
    try:
        with ExitStack() as stack:
            sums: WindowSums | None = None
            for z, planes in _layers(images, tiling):
                for corners, batch in _batches(planes, tiling, batch_size):
                    logits = _forward(network, batch.to(device), precision)
                    if sums is None:
                        sums = _sums(tiling, logits.shape[1], device, held_bytes)
                        stack.callback(sums.close)
                    for corner, scores in zip(corners, logits, strict=True):
                        sums.add((z, *corner), scores, weights)
                    del logits, scores  # before there are the next ones
                if sums is not None:
                    yield from _finished(sums, tiling, weights, z)
    finally:
        network.train(was_training)


@dataclass(frozen=True)
class Tiling:
    """Where the windows over a volume lie.

    Attributes:
        shape: Of the volume, axial slices first, (Z, X, Y).
        patch: Of a window, in the same order.
        starts: First voxel of the windows along each axis, in the same order.
    """

    shape: tuple[int, int, int]
    patch: tuple[int, int, int]
    starts: tuple[list[int], list[int], list[int]]

    @classmethod
    def of(cls, shape: tuple[int, ...], geometry: PatchGeometry) -> "Tiling":
        """Of a volume of shape (Z, X, Y)."""
        depth, rows, columns = shape
        x, y, z = geometry.patch_size
        pairs = ((depth, z), (rows, x), (columns, y))
        along = [window_starts(size, side, geometry.overlap) for size, side in pairs]
        return cls((depth, rows, columns), (z, x, y), (along[0], along[1], along[2]))

    @property
    def corners(self) -> list[tuple[int, int]]:
        """First row and column of every window of a layer."""
        return [(x, y) for x in self.starts[1] for y in self.starts[2]]

    @property
    def plane(self) -> tuple[int, int]:
        """Size of a plane, padding included."""
        return (max(self.shape[1], self.patch[1]), max(self.shape[2], self.patch[2]))

    def within(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the window at a corner."""
        (x, y), (_, rows, columns) = corner, self.patch
        return slice(x, x + rows), slice(y, y + columns)

    def plane_bytes(self, classes: int) -> int:
        """What the scores of one plane take."""
        return 4 * classes * self.plane[0] * self.plane[1]

    def sum_bytes(self, classes: int) -> int:
        """What the sums of all planes that are open at once take."""
        return self.patch[0] * self.plane_bytes(classes)


def window_starts(size: int, patch: int, overlap: float) -> list[int]:
    """First voxel of every window along one axis.

    Args:
        size: Of the volume along the axis; what is smaller than a window is padded to it.
        patch: Side of a window.
        overlap: Share of the side that neighbours have in common.
    """
    step = max(1, int(patch * (1 - overlap)))
    last = max(size - patch, 0)
    return [*range(0, last, step), last]


def importance(patch_size: tuple[int, int, int]) -> torch.Tensor:
    """Weight of every voxel of a window of (X, Y, Z) voxels, shape (Z, X, Y), float32."""
    x, y, z = patch_size
    weights: torch.Tensor = compute_importance_map((z, x, y), mode="gaussian", sigma_scale=0.125)
    return weights


def most_held(device: str | torch.device) -> int:
    """Bytes of sums that are kept in the memory of a device unless more are allowed."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    return HELD_BYTES


def sample_windows(
    images: Slices, geometry: PatchGeometry, device: str | torch.device, *, count: int = 4
) -> torch.Tensor:
    """A few windows where there is something to see, float32 (B, 1, X, Y, Z).

    Of layers spread evenly, each gives the window whose middle slice varies most. Large windows
    are fewer.
    """
    tiling = Tiling.of(images.shape, geometry)
    layers, corners = tiling.starts[0], tiling.corners
    count = max(1, min(count, len(layers), SAMPLE_VOXELS // math.prod(tiling.patch)))
    chosen = [layers[(2 * part + 1) * len(layers) // (2 * count)] for part in range(count)]
    windows = []
    for z, planes in _layers(images, replace(tiling, starts=(chosen, *tiling.starts[1:]))):
        middle = planes[min(tiling.patch[0], len(images) - z) // 2]
        best = int(np.argmax([middle[tiling.within(corner)].std() for corner in corners]))
        windows.append(_cut(planes, tiling, corners[best]).copy())
    return _batch(windows).to(device)


def _layers(images: Slices, tiling: Tiling) -> Iterator[tuple[int, np.ndarray]]:
    """First plane of each layer, and its planes (Z, X, Y), float32; one array for all layers."""
    (depth, rows, columns), thick = tiling.shape, tiling.patch[0]
    planes = np.zeros((thick, *tiling.plane), dtype=np.float32)
    made = 0
    for z in tiling.starts[0]:
        kept = max(made - z, 0)
        planes[:kept] = planes[thick - kept :].copy()
        made = z + thick
        for first in range(z + kept, min(made, depth), AT_ONCE):
            wanted = np.arange(first, min(first + AT_ONCE, made, depth))
            planes[wanted - z, :rows, :columns] = images[wanted]
        yield z, planes


def _batches(
    planes: np.ndarray, tiling: Tiling, batch_size: int
) -> Iterator[tuple[list[tuple[int, int]], torch.Tensor]]:
    """Corners and content (B, 1, X, Y, Z) of the windows of a layer."""
    for start in range(0, len(tiling.corners), batch_size):
        corners = tiling.corners[start : start + batch_size]
        yield corners, _batch([_cut(planes, tiling, corner) for corner in corners])


def _cut(planes: np.ndarray, tiling: Tiling, corner: tuple[int, int]) -> np.ndarray:
    rows, columns = tiling.within(corner)
    return planes[:, rows, columns]


def _batch(windows: list[np.ndarray]) -> torch.Tensor:
    stacked = np.stack([window.transpose(1, 2, 0) for window in windows])
    return torch.from_numpy(np.ascontiguousarray(stacked[:, None]))


def _forward(network: nn.Module, batch: torch.Tensor, precision: str) -> torch.Tensor:
    """Logits (B, C, X, Y, Z), float32.

    Raises:
        ModelError: If they are not of the patch's size.
    """
    dtype = PRECISIONS[precision]
    with (
        torch.inference_mode(),
        torch.autocast(batch.device.type, dtype=dtype, enabled=dtype != torch.float32),
    ):
        logits: torch.Tensor = network(batch)
    if logits.shape[2:] != batch.shape[2:]:
        wanted, got = tuple(batch.shape[2:]), tuple(logits.shape[2:])
        raise ModelError(f"network: expected logits of the patch's size {wanted}, got {got}")
    return logits.float()


def _finished(
    sums: WindowSums, tiling: Tiling, weights: torch.Tensor, z: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Means of the planes that no layer after the one at ``z`` reaches, without the padding."""
    _, rows, columns = tiling.shape
    stop = min([start for start in tiling.starts[0] if start > z], default=tiling.shape[0])
    count = max(1, HANDED_BYTES // (4 * math.prod(sums.shape[1:])))
    for first in range(z, stop, count):
        planes = range(first, min(first + count, stop))
        means = sums.take(planes.start, planes.stop)
        for index, plane in enumerate(planes):
            means[index] /= _total_weight(tiling, weights, plane)
        yield first, means[..., :rows, :columns]
        del means  # before there are the next ones


def _total_weight(tiling: Tiling, weights: torch.Tensor, plane: int) -> torch.Tensor:
    """Sum of the weights of all windows in a plane, (X, Y)."""
    total = torch.zeros(tiling.plane, device=weights.device)
    for z in tiling.starts[0]:
        if z <= plane < z + tiling.patch[0]:
            for corner in tiling.corners:
                total[tiling.within(corner)] += weights[plane - z]
    return total


def _sums(tiling: Tiling, classes: int, device: str | torch.device, held_bytes: int) -> WindowSums:
    shape = (tiling.patch[0], classes, *tiling.plane)
    in_memory = tiling.sum_bytes(classes) <= held_bytes
    return MemorySums(shape, device) if in_memory else FileSums(shape, device)
