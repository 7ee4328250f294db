"""Two grids whose axes run alike, one resampled onto the other plane by plane."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

ON_SLICE = 1e-6  # of a slice; nearer is on it
ALIGNED = 0.01  # voxels by which the axes may part over the volume; headers are not exact


@dataclass(frozen=True)
class Placing:
    """Where the voxels of a target grid lie in a source grid, both in RAS orientation.

    Attributes:
        step: Source voxels per target voxel, along each axis.
        shift: Source voxel at which target voxel 0 lies, along each axis.
        is_same: Whether the two are one grid.
    """

    step: tuple[float, float, float]
    shift: tuple[float, float, float]
    is_same: bool = False

    @classmethod
    def same(cls) -> "Placing":
        """Of a grid on itself."""
        return cls((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), is_same=True)

    def along_z(self, indices: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The two source slices of each target slice and the second one's weight, float32.

        Beyond the source its outermost slice goes on.
        """
        places = np.clip(np.asarray(indices) * self.step[2] + self.shift[2], 0, depth - 1)
        places = np.where(abs(places - np.rint(places)) < ON_SLICE, np.rint(places), places)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, depth - 1)
        return low, high, (places - low).astype(np.float32)


def placing_of(target: np.ndarray, source: np.ndarray, shape: tuple[int, ...]) -> Placing | None:
    """How a target grid of a shape lies in a source grid; ``None`` if their axes differ.

    Args:
        target: Voxel to RAS millimetres of the target grid.
        source: The same of the source grid.
        shape: Of the target grid.
    """
    matrix = np.linalg.solve(source, target)
    step, shift = np.diag(matrix)[:3], matrix[:3, 3]
    leaning = np.abs(matrix[:3, :3] - np.diag(step)) @ np.asarray(shape[:3], dtype=float)
    if leaning.max() > ALIGNED or step.min() <= 0:
        return None
    x, y, z = (float(value) for value in step)
    i, j, k = (float(value) for value in shift)
    return Placing((x, y, z), (i, j, k))


def plane_grid(
    source: tuple[int, int], placing: Placing, target: tuple[int, int]
) -> torch.Tensor | None:
    """Where target pixels lie in a source plane, for :func:`sample`; ``None`` if they are one."""
    step, shift = np.asarray(placing.step[:2]), np.asarray(placing.shift[:2])
    if source == target and np.allclose(step, 1, atol=1e-9) and np.allclose(shift, 0):
        return None
    return sampling_grid(target, step, shift, source)


def sampling_grid(
    target: tuple[int, int], step: np.ndarray, shift: np.ndarray, source: tuple[int, int]
) -> torch.Tensor:
    """Where each target pixel lies in the source, in ``grid_sample``'s -1..1 (last axis first)."""
    rows, columns = (
        (2 * (np.arange(size) * step[axis] + shift[axis]) + 1) / source[axis] - 1
        for axis, size in enumerate(target)
    )
    grid = np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), axis=-1)
    return torch.from_numpy(grid.astype(np.float32))[None]


def sample(planes: torch.Tensor, grid: torch.Tensor, padding: str) -> torch.Tensor:
    """Linear interpolation of (B, C, H, W) at a grid of shape (1, X, Y, 2)."""
    grid = grid.expand(len(planes), -1, -1, -1)
    return F.grid_sample(planes, grid, padding_mode=padding, align_corners=False)
