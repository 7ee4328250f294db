"""A volume as a slice model sees it, with the way to the network's input and back."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from nibabel.orientations import io_orientation

from medseg.errors import UsageError
from medseg.explain import Target
from medseg.inference.label_map import placing_on
from medseg.inference.native import in_ras, ras_grid, turn_to_native
from medseg.inference.prepared import PreparedSlices
from medseg.inference.slab import in_plane, native_slabs
from medseg.inference.slices import inputs_of
from medseg.loading.geometry import SliceGeometry
from medseg.model import LoadedModel
from medseg.volumes import Header, Volume

THICK = 8  # native slices brought onto their grid at once


class Scan:
    """One volume, prepared for a model of axial slices.

    Args:
        model: Its network is on the device already.
        volume: All voxels finite.
        device: Where the network runs.

    Attributes:
        images: The prepared slices.
        native: The grid of the file.

    Raises:
        UsageError: If the model takes volumes, or the volume's axes are sheared.
    """

    def __init__(self, model: LoadedModel, volume: Volume, device: torch.device) -> None:
        geometry = model.spec.geometry
        if not isinstance(geometry, SliceGeometry):
            raise UsageError("explain takes models of axial slices, got one of 3D patches")
        self.images = PreparedSlices(volume, model.spec.preprocessing)
        self.native = Header(volume.array.shape, volume.affine, volume.array.dtype)
        placing = placing_on(self.images, self.native)
        if placing is None:
            raise UsageError("the volume's axes are sheared; resample it first")
        self._placing, self._geometry = placing, geometry
        self._network, self._device = model.network, device
        self._orientation = io_orientation(volume.affine)
        self._ras_shape = ras_grid(self.native)[1]

    def inputs(self, slices: Sequence[int]) -> torch.Tensor:
        """What the network is fed for these prepared slices, (B, channels, H, W)."""
        return inputs_of(self.images, self._geometry, slices, self._device)

    @property
    def channels(self) -> int:
        """Channels of the network's logits."""
        with torch.no_grad():
            return int(self._network(self.inputs([0])).shape[1])

    def found(
        self, channel: int, slices: Sequence[int], *, batch_size: int
    ) -> dict[int, torch.Tensor]:
        """Where the network finds a class: prepared slice → mask (H, W); no empty ones."""
        masks: dict[int, torch.Tensor] = {}
        for start in range(0, len(slices), batch_size):
            part = slices[start : start + batch_size]
            with torch.no_grad():
                logits = self._network(self.inputs(part))
            region = Target(channel).fixed(logits).region
            if region is not None:
                masks.update(zip(part, region.cpu(), strict=True))
        return {index: mask for index, mask in masks.items() if bool(mask.any())}

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
        """The prepared slice of a voxel of the file, and a mask of its pixel, (1, H, W).

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
        matrix = self._geometry.matrix((self.images.shape[1], self.images.shape[2]))
        h, w = (round(float(v)) for v in (np.array([x, y]) - matrix[:, 2]) / np.diag(matrix))
        mask = torch.zeros((1, *self._geometry.image_size), dtype=torch.bool)
        if not (0 <= h < mask.shape[1] and 0 <= w < mask.shape[2]):
            raise UsageError(f"voxel {voxel} lies outside what the network sees")
        mask[0, h, w] = True
        return int(np.clip(round(float(z)), 0, len(self.images) - 1)), mask

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """Voxels of the file along x, y and z of its RAS grid."""
        return self._ras_shape

    def ras_of(self, axis: int, pixel: float) -> float:
        """Where a place of the network's input lies along x (axis 0) or y (1) of the RAS grid."""
        matrix = self._geometry.matrix((self.images.shape[1], self.images.shape[2]))
        prepared = pixel * matrix[axis, axis] + matrix[axis, 2]
        return float((prepared - self._placing.shift[axis]) / self._placing.step[axis])

    def masks_of(self, region: np.ndarray) -> np.ndarray:
        """A mask of the file at each pixel of the network's input, (Z, H, W); nearest voxel."""
        ras = in_ras(region, self.native.affine)
        matrix = self._geometry.matrix((self.images.shape[1], self.images.shape[2]))
        sizes = (*self._geometry.image_size, len(self.images))
        steps, shifts = (*np.diag(matrix), 1.0), (*matrix[:, 2], 0.0)
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
            maps: Prepared slice → map at the network's size, (H, W).
        """
        height, width = self._geometry.image_size
        empty = torch.zeros(height, width)

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
