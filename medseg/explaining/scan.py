"""A volume as a slice model sees it, with the way to the network's input and back."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from medseg.errors import UsageError
from medseg.explain import Target
from medseg.explaining.placed import Part, PlacedVolume
from medseg.inference.slices import inputs_of
from medseg.loading.geometry import SliceGeometry
from medseg.model import LoadedModel
from medseg.volumes import Volume


class Scan(PlacedVolume):
    """One volume, prepared for a model of axial slices.

    Args:
        model: Its network is on the device already.
        volume: All voxels finite.
        device: Where the network runs.

    Raises:
        UsageError: If the model takes volumes, or the volume's axes are sheared.
    """

    def __init__(self, model: LoadedModel, volume: Volume, device: torch.device) -> None:
        geometry = model.spec.geometry
        if not isinstance(geometry, SliceGeometry):
            raise UsageError("expected a model of axial slices, got one of 3D patches")
        super().__init__(model, volume, device)
        self._slices = geometry

    def inputs(self, slices: Sequence[int]) -> torch.Tensor:
        """What the network is fed for these prepared slices, (B, channels, H, W)."""
        return inputs_of(self.images, self._slices, slices, self._device)

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

    def parts(self, regions: Mapping[int, torch.Tensor], *, whole: bool) -> list[Part]:
        """Slices, each for itself: all of them, or the one with most of the target."""
        order = sorted(regions)
        if not whole:
            order = [max(order, key=lambda index: int(regions[index].sum()))]
        return [Part((index, 0, 0), regions[index]) for index in order]

    def fed(self, parts: Sequence[Part]) -> torch.Tensor:
        """What the network is fed for these parts, (B, channels, H, W)."""
        return self.inputs([part.corner[0] for part in parts])

    def joined(self, found: Iterable[tuple[Part, torch.Tensor]]) -> dict[int, torch.Tensor]:
        """Prepared slice → map (H, W)."""
        return {part.corner[0]: one for part, one in found}
