"""A prepared volume beside the file it was made of: the way from one to the other and back."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from nibabel.orientations import io_orientation

from medseg.errors import UsageError
from medseg.inference.label_map import placing_on
from medseg.inference.native import in_ras, ras_grid, turn_to_native
from medseg.inference.prepared import PreparedSlices
from medseg.inference.slab import in_plane, native_slabs
from medseg.loading.geometry import SliceGeometry
from medseg.model import LoadedModel
from medseg.volumes import Header, Volume

THICK = 8  # native slices brought onto their grid at once
Corner = tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """One input of the network that holds some of a target.

    Attributes:
        corner: Its first slice, row and column in the prepared volume.
        region: Where the target is in it, bool, or how much it counts there, float; (H, W) or
            (X, Y, Z), as the network's input lies.
        share: Of the target that it stands for.
    """

    corner: Corner
    region: torch.Tensor
    share: float = 1.0


class PlacedVolume(ABC):
    """One volume, prepared for a model, and what lies where in it.

    Maps and masks of the prepared volume are given slice by slice, each (H, W): of a model of
    slices at the size of its input, of a model of patches on the prepared volume's own pixels.

    Args:
        model: Its network is on the device already.
        volume: All voxels finite.
        device: Where the network runs.

    Attributes:
        images: The prepared slices.
        native: The grid of the file.
        most_at_once: Inputs that the network is given at once, at most.

    Raises:
        UsageError: If the volume's axes are sheared.
    """

    most_at_once = sys.maxsize

    def __init__(self, model: LoadedModel, volume: Volume, device: torch.device) -> None:
        self.images = PreparedSlices(volume, model.spec.preprocessing)
        self.native = Header(volume.array.shape, volume.affine, volume.array.dtype)
        placing = placing_on(self.images, self.native)
        if placing is None:
            raise UsageError("the volume's axes are sheared; resample it first")
        self._placing, self._geometry = placing, model.spec.geometry
        self._network, self._device = model.network, device
        self._orientation = io_orientation(volume.affine)
        self._ras_shape = ras_grid(self.native)[1]
        own = self.images.shape[1], self.images.shape[2]
        self._size, self._matrix = own, np.eye(2, 3)
        if isinstance(self._geometry, SliceGeometry):
            self._size, self._matrix = self._geometry.image_size, self._geometry.matrix(own)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the network's logits."""

    @abstractmethod
    def found(
        self, channel: int, slices: Sequence[int], *, batch_size: int
    ) -> dict[int, torch.Tensor]:
        """Where the network finds a class: prepared slice → mask (H, W); no empty ones."""

    @abstractmethod
    def parts(self, regions: Mapping[int, torch.Tensor], *, whole: bool) -> list[Part]:
        """Inputs of the network that hold a target: one, or all.

        Args:
            regions: Prepared slice → where the target is, (H, W).
            whole: Whether all of the target counts, or only what one input holds of it.
        """

    @abstractmethod
    def fed(self, parts: Sequence[Part]) -> torch.Tensor:
        """What the network is fed for these parts, (B, channels, *spatial)."""

    @abstractmethod
    def joined(self, found: Iterable[tuple[Part, torch.Tensor]]) -> dict[int, torch.Tensor]:
        """Maps of parts, each as its region, joined: prepared slice → map (H, W)."""

    def slice_of(self, file_index: int) -> int:
        """The prepared slice nearest to an axial slice of the file.

        Raises:
            UsageError: If the file has no such slice.
        """
        depth = self._ras_shape[2]
        if not 0 <= file_index < depth:
            raise UsageError(f"slice must be 0 to {depth - 1} in this image, got {file_index}")
        z = depth - 1 - file_index if self._axis_reversed() else file_index
        place = round(z * self._placing.step[2] + self._placing.shift[2])
        return int(np.clip(place, 0, len(self.images) - 1))

    def ras_slice_of(self, prepared: int) -> int:
        """The axial slice of the file nearest to a prepared slice, counted from the feet."""
        place = round((prepared - self._placing.shift[2]) / self._placing.step[2])
        return int(np.clip(place, 0, self._ras_shape[2] - 1))

    def file_slice_of(self, prepared: int) -> int:
        """The same slice's index in the file."""
        z = self.ras_slice_of(prepared)
        return self._ras_shape[2] - 1 - z if self._axis_reversed() else z

    def pixel_of(self, voxel: tuple[int, int, int]) -> tuple[int, torch.Tensor]:
        """The prepared slice of a voxel of the file, and a mask of its pixel in it, (1, H, W).

        Raises:
            UsageError: If the voxel is outside the file, or outside what the network sees.
        """
        shape = self.native.shape
        if any(not 0 <= index < size for index, size in zip(voxel, shape, strict=True)):
            raise UsageError(f"the voxel must lie in the image's {shape}, got {voxel}")
        ras = [0, 0, 0]
        for axis, (target, direction) in enumerate(self._orientation):
            ras[int(target)] = voxel[axis] if direction > 0 else shape[axis] - 1 - voxel[axis]
        x, y, z = np.multiply(ras, self._placing.step) + self._placing.shift
        step, shift = np.diag(self._matrix), self._matrix[:, 2]
        h, w = (round(float(v)) for v in (np.array([x, y]) - shift) / step)
        mask = torch.zeros((1, *self._size), dtype=torch.bool)
        if not (0 <= h < mask.shape[1] and 0 <= w < mask.shape[2]):
            raise UsageError(f"voxel {voxel} lies outside what the network sees")
        mask[0, h, w] = True
        return int(np.clip(round(float(z)), 0, len(self.images) - 1)), mask

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """Voxels of the file along x, y and z of its RAS grid."""
        return self._ras_shape

    def ras_of(self, axis: int, pixel: float) -> float:
        """Where a place in a prepared slice's masks lies along x (axis 0) or y (1) of that grid."""
        prepared = pixel * self._matrix[axis, axis] + self._matrix[axis, 2]
        return float((prepared - self._placing.shift[axis]) / self._placing.step[axis])

    def masks_of(self, region: np.ndarray) -> np.ndarray:
        """A mask of the file at each pixel of the prepared slices, (Z, H, W); nearest voxel."""
        ras = in_ras(region, self.native.affine)
        sizes = (*self._size, len(self.images))
        steps, shifts = (*np.diag(self._matrix), 1.0), (*self._matrix[:, 2], 0.0)
        masks = np.ones(sizes, dtype=bool)
        picked = ras
        for axis, (size, step, shift) in enumerate(zip(sizes, steps, shifts, strict=True)):
            prepared = np.arange(size) * step + shift
            native = np.rint((prepared - self._placing.shift[axis]) / self._placing.step[axis])
            inside = (native >= 0) & (native < ras.shape[axis])
            masks &= np.expand_dims(inside, [other for other in range(3) if other != axis])
            picked = picked.take(native.clip(0, ras.shape[axis] - 1).astype(int), axis=axis)
        found: np.ndarray = (masks & picked.astype(bool)).transpose(2, 0, 1)
        return found

    def onto_native(self, maps: Mapping[int, torch.Tensor]) -> Volume:
        """Maps of prepared slices on the grid of the file, float32; 0 where there is none.

        Args:
            maps: Prepared slice → map, (H, W).
        """
        empty = torch.zeros(self._size)

        def parts() -> Iterator[tuple[int, torch.Tensor]]:
            for index in range(len(self.images)):
                yield index, maps.get(index, empty)[None, None].float().cpu()

        x, y, depth = self._ras_shape
        slice_shape = (self.images.shape[1], self.images.shape[2])
        onto = in_plane(self._geometry, slice_shape, self._placing, (x, y), "cpu")
        whole = np.zeros((depth, x, y), dtype=np.float32)
        for first, slab in native_slabs(parts(), self._placing, len(self.images), depth, THICK):
            whole[first : first + len(slab)] = onto(slab)[:, 0].numpy()
        return Volume(turn_to_native(whole.transpose(1, 2, 0), self.native), self.native.affine)

    def _axis_reversed(self) -> bool:
        axial = int(np.flatnonzero(self._orientation[:, 0] == 2)[0])
        return bool(self._orientation[axial, 1] < 0)
