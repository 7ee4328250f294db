"""A volume as a model of 3D patches sees it: the windows that hold a target, and their maps."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from medseg.errors import UsageError
from medseg.explain import Target
from medseg.explaining.placed import Corner, Part, PlacedVolume
from medseg.explaining.scan import Scan
from medseg.inference.label_map import BATCH_VOXELS
from medseg.inference.windows import Tiling, importance, logits_of_windows
from medseg.loading.geometry import PatchGeometry
from medseg.model import LoadedModel
from medseg.volumes import Volume


class PatchScan(PlacedVolume):
    """One volume, prepared for a model of 3D patches.

    A target is explained in one window around its middle, or through the volume: then in every
    window of prediction that holds some of it. Prediction takes weighted means of the windows'
    logits, so the mean logit of a target is a sum over windows, and its map is the same sum of
    theirs, each for its share. What a window cannot see it does not count.

    Args:
        model: Its network is on the device already.
        volume: All voxels finite.
        device: Where the network runs.

    Attributes:
        patch_size: Voxels of a window along X, Y and Z.

    Raises:
        UsageError: If the model takes slices, or the volume's axes are sheared.
    """

    def __init__(self, model: LoadedModel, volume: Volume, device: torch.device) -> None:
        geometry = model.spec.geometry
        if not isinstance(geometry, PatchGeometry):
            raise UsageError("expected a model of 3D patches, got one of axial slices")
        super().__init__(model, volume, device)
        self._patches = geometry
        self.patch_size = geometry.patch_size
        self._tiling = Tiling.of(self.images.shape, geometry)
        self.most_at_once = max(1, BATCH_VOXELS // math.prod(geometry.patch_size))

    @property
    def channels(self) -> int:
        """Channels of the network's logits."""
        empty = torch.zeros((1, *self._patches.input_shape), device=self._device)
        with torch.no_grad():
            return int(self._network(empty).shape[1])

    def found(
        self, channel: int, slices: Sequence[int], *, batch_size: int
    ) -> dict[int, torch.Tensor]:
        """Where overlapping windows find a class: prepared slice → mask; no empty ones."""
        wanted, masks = set(slices), dict[int, torch.Tensor]()
        for first, logits in logits_of_windows(
            self._network, self.images, self._patches, batch_size=batch_size, device=self._device
        ):
            region = Target(channel).fixed(logits).region
            if region is not None:
                masks.update(zip(range(first, first + len(region)), region.cpu(), strict=True))
        return {z: mask for z, mask in masks.items() if z in wanted and bool(mask.any())}

    def parts(self, regions: Mapping[int, torch.Tensor], *, whole: bool) -> list[Part]:
        """The window around the target's middle, or every one that holds some of the target.

        Where the target is larger than a window or in pieces, one window that holds most of it.
        """
        corners = list(itertools.product(*self._tiling.starts))
        if not whole:
            parts = [
                Part(corner, self._cut(regions, corner))
                for corner in (self._middle(regions), *corners)
            ]
            return [max(parts, key=lambda part: int(part.region.sum()))]
        target = {z: region.float() for z, region in regions.items()}
        total = sum(float(region.sum()) for region in target.values())
        weights = importance(self._patches.patch_size)
        sums = self._sums(weights, target)
        parts = []
        for corner in corners:
            region = self._cut({z: target[z] / sums[z] for z in target}, corner)
            region = region * weights.permute(1, 2, 0)
            if region.any():
                parts.append(Part(corner, region, float(region.sum()) / total))
        return parts

    def fed(self, parts: Sequence[Part]) -> torch.Tensor:
        """What the network is fed for these parts, (B, 1, X, Y, Z), zeros beyond the volume."""
        depth, rows, columns = self._tiling.patch
        windows = torch.zeros((len(parts), 1, rows, columns, depth))
        for window, part in zip(windows[:, 0], parts, strict=True):
            z, x, y = part.corner
            planes = self.images[np.arange(z, min(z + depth, len(self.images)))]
            cut = torch.from_numpy(planes[:, x : x + rows, y : y + columns]).permute(1, 2, 0)
            window[: cut.shape[0], : cut.shape[1], : cut.shape[2]] = cut
        return windows.to(self._device)

    def joined(self, found: Iterable[tuple[Part, torch.Tensor]]) -> dict[int, torch.Tensor]:
        """Prepared slice → map, of the slices that the windows reach; each window by its share."""
        maps: dict[int, torch.Tensor] = {}
        for part, one in found:
            z, x, y = part.corner
            for index in range(z, min(z + one.shape[2], len(self.images))):
                plane = maps.setdefault(index, torch.zeros(self._size))
                inside = plane[x : x + one.shape[0], y : y + one.shape[1]]
                rows, columns = inside.shape
                inside += part.share * one[:rows, :columns, index - z]
        return maps

    def _middle(self, regions: Mapping[int, torch.Tensor]) -> Corner:
        """The window whose middle is that of the box around the target, within the volume."""
        regions = {z: region for z, region in regions.items() if region.any()}
        planes = torch.stack(list(regions.values())).any(dim=0)
        places = [
            sorted(regions),
            *(planes.any(dim=1 - k).nonzero()[:, 0].tolist() for k in (0, 1)),
        ]
        corner = []
        for along, side, size in zip(places, self._tiling.patch, self.images.shape, strict=True):
            start = (int(along[0]) + int(along[-1]) + 1 - side) // 2
            corner.append(min(max(start, 0), max(size - side, 0)))
        return corner[0], corner[1], corner[2]

    def _cut(self, regions: Mapping[int, torch.Tensor], corner: Corner) -> torch.Tensor:
        """What a window holds of regions, (X, Y, Z), nothing beyond the volume."""
        (z, x, y), (depth, rows, columns) = corner, self._tiling.patch
        kind = next(iter(regions.values())).dtype
        cut = torch.zeros((depth, rows, columns), dtype=kind)
        for index in set(range(z, z + depth)) & set(regions):
            plane = regions[index][x : x + rows, y : y + columns]
            cut[index - z, : plane.shape[0], : plane.shape[1]] = plane
        return cut.permute(1, 2, 0)

    def _sums(
        self, weights: torch.Tensor, regions: Mapping[int, torch.Tensor]
    ) -> dict[int, torch.Tensor]:
        """What the weights of all windows add up to in the slices of a target, each (X, Y)."""
        sums = {z: torch.zeros(self._tiling.plane) for z in regions}
        for first, x, y in itertools.product(*self._tiling.starts):
            for z in set(range(first, first + len(weights))) & set(regions):
                sums[z][self._tiling.within((x, y))] += weights[z - first]
        return {z: one[: self._size[0], : self._size[1]] for z, one in sums.items()}


def scan_of(model: LoadedModel, volume: Volume, device: torch.device) -> PlacedVolume:
    """A volume, prepared for a model of either kind.

    Raises:
        UsageError: If the volume's axes are sheared.
    """
    in_patches = isinstance(model.spec.geometry, PatchGeometry)
    return PatchScan(model, volume, device) if in_patches else Scan(model, volume, device)


def windows_of(parts: Sequence[Part], scan: PlacedVolume) -> list[list[int]]:
    """First voxel of each part's window in the prepared volume, left, back and feet first.

    Models of slices have no windows.
    """
    if not isinstance(scan, PatchScan):
        return []
    return [[x, y, z] for z, x, y in (part.corner for part in parts)]
