"""Transforms of bundles that MONAI has no equal of; each works on MetaTensors (1, X, Y, Z)."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, SpatialResample

from medseg.inference.postprocess import Step, postprocess
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing, limits_of, scaled
from medseg.losses import BCEDiceLoss
from medseg.volumes import Volume

Data = Mapping[Hashable, Any]


class ScaleByPercentilesd(MapTransform):  # type: ignore[misc]
    """Scale percentiles of the nonzero voxels to [0, 1] and clip.

    Args:
        keys: Of the images.
        percentiles: Lower and upper one.
    """

    def __init__(self, keys: str | Sequence[str], percentiles: Sequence[float]) -> None:
        super().__init__(keys)
        self.preprocessing = Preprocessing(percentiles=(percentiles[0], percentiles[1]))

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Images become float32 in [0, 1]."""
        found = dict(data)
        for key in self.key_iterator(found):
            array = np.asarray(found[key])
            image = scaled(array, *limits_of(array, self.preprocessing))
            found[key] = MetaTensor(image, meta=found[key].meta)
        return found


class StackSlicesd(MapTransform):  # type: ignore[misc]
    """Give each axial slice its neighbours as channels; the outermost are repeated at the ends.

    Args:
        keys: Of the images, (1, X, Y, Z).
        neighbours: Slices below and above; there are twice as many channels and one.
    """

    def __init__(self, keys: str | Sequence[str], neighbours: int) -> None:
        super().__init__(keys)
        self.geometry = SliceGeometry((1, 1), neighbours=neighbours)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Images become (channels, X, Y, Z), the lowest slice first."""
        found = dict(data)
        for key in self.key_iterator(found):
            depth = found[key].shape[3]
            rows = [self.geometry.slice_indices(index, depth) for index in range(depth)]
            stacked = [found[key][..., list(channel)] for channel in zip(*rows, strict=True)]
            found[key] = torch.cat(stacked)
        return found


class FitSlicesd(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Put axial slices into the network's input at a fixed zoom, centred and padded with zeros.

    Args:
        keys: Of images, scores or label maps (C, X, Y, Z).
        image_size: Of the network's input, in pixels.
        zoom: Pixels of input per pixel of the slice.
        mode: ``"bilinear"`` or ``"nearest"``, for each key.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        image_size: Sequence[int],
        zoom: float,
        mode: Sequence[str] = ("bilinear",),
    ) -> None:
        super().__init__(keys)
        self.geometry = SliceGeometry((image_size[0], image_size[1]), zoom=zoom)
        modes = list(mode) * (len(self.keys) if len(mode) == 1 else 1)
        self.resamples = [
            SpatialResample(mode=mode, padding_mode="zeros", dtype=np.float32) for mode in modes
        ]

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Slices (X, Y) become (H, W)."""
        found = dict(data)
        for key, resample in self.key_iterator(found, self.resamples):
            image = found[key]
            matrix = self.geometry.matrix(tuple(image.shape[1:3]))
            to_slice = np.eye(4)
            to_slice[:2, :2], to_slice[:2, 3] = matrix[:, :2], matrix[:, 2]
            affine = image.affine @ torch.as_tensor(to_slice, dtype=image.affine.dtype)
            size = (*self.geometry.image_size, image.shape[3])
            found[key] = resample(image, dst_affine=affine, spatial_size=size)
            # on the way back there is nothing beyond the input that zeros could stand for
            found[key].applied_operations[-1]["extra_info"]["padding_mode"] = "border"
        return found

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """(H, W) becomes slices (X, Y) again; beyond the input its outermost pixels go on."""
        found = dict(data)
        for key, resample in self.key_iterator(found, self.resamples):
            found[key] = resample.inverse(found[key])
        return found


class Postprocessd(MapTransform):  # type: ignore[misc]
    """Clear up a label map organ by organ.

    Args:
        keys: Of label maps (1, X, Y, Z) on their own grid.
        steps: Organ → plain settings of :class:`medseg.inference.postprocess.Step`.
        labels: Organ → value in the label map.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        steps: Mapping[str, Mapping[str, Any]],
        labels: Mapping[str, int],
    ) -> None:
        super().__init__(keys)
        self.steps = {organ: Step(**step) for organ, step in steps.items()}
        self.labels = dict(labels)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Label maps stay on their grid."""
        found = dict(data)
        for key in self.key_iterator(found):
            label = found[key]
            volume = Volume(label[0].numpy().astype(np.int32), label.affine.numpy())
            cleared = postprocess(volume, self.steps, self.labels).array[None]
            found[key] = MetaTensor(cleared.astype(np.float32), meta=label.meta)
        return found


class BCEDice(BCEDiceLoss):
    """:class:`medseg.losses.BCEDiceLoss` of labels as MONAI has them, (B, 1, *spatial) floats."""

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Compare logits (B, C, *spatial) with class indices (B, 1, *spatial)."""
        return super().forward(logits, label[:, 0].round().long())
