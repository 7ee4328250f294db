"""A checked bundle on volumes: MONAI's transforms and inferer, label maps on the native grid."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monai.inferers
import monai.transforms
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, SpatialResample

from medseg.bundles.config import Component
from medseg.bundles.weights import load_network
from medseg.bundles.zoo import ZooBundle, read_zoo
from medseg.errors import ModelError, ResourceError
from medseg.model import BUILD_ERRORS
from medseg.volumes import Volume

PRED = "pred"
NOT_OURS = ("LoadImaged", "SaveImaged")  # volumes are read and written by medseg
CHANNEL_FIRST = "ensure_channel_first"


class BundleRunner:
    """A bundle of others, ready to predict one volume after the other.

    Args:
        folder: The bundle.
        device: Where its network runs.

    Attributes:
        labels: Organ → value in the label maps.
        network_name: Dotted path of the network.
        device: Where it runs.

    Raises:
        NotAllowedError: If the bundle names more than the allow-list holds.
        ModelError: If it is damaged.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        bundle = read_zoo(folder)
        self.folder, self.device, self.bundle = folder, device, bundle
        self.labels = dict(bundle.labels)
        self.network_name = str(bundle.network["_target_"])
        self.network = load_network(folder, bundle.network).to(device)
        built = [_built(monai.transforms, one) for one in _run_by_us(bundle.preprocessing)]
        self.before = Compose(built)
        self.after = Compose([
            _built(monai.transforms, one, self.before)
            for one in _run_by_us(bundle.postprocessing)
        ])  # fmt: skip
        self.inferer = _built(monai.inferers, bundle.inferer)

    def __call__(self, volume: Volume) -> Volume:
        """Label map of a volume on its own grid.

        Raises:
            ModelError: If the bundle cannot make sense of the volume, or gives no label map.
            ResourceError: If memory ran out.
        """
        try:
            with torch.inference_mode():
                found = self._predicted(volume)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ResourceError(
                f"{self.folder}: memory ran out; the bundle says how much"
            ) from error
        except BUILD_ERRORS as error:
            raise ModelError(
                f"{self.folder}: expected to predict this volume: {_said(error)}"
            ) from error
        return label_map(self.folder, found, volume, list(self.labels.values()))

    def _predicted(self, volume: Volume) -> MetaTensor:
        key = self.bundle.image_key
        data = self.before({key: _loaded(volume, self.bundle)})
        image = data[key]
        scores = self.inferer(image[None].as_tensor().float().to(self.device), self.network)
        if isinstance(scores, (list, tuple)):
            scores = scores[0]
        data[PRED] = MetaTensor(scores[0].cpu(), meta=image.meta)
        return self.after(data)[PRED]


def label_map(folder: Path, found: Any, volume: Volume, values: Sequence[int]) -> Volume:
    """What a bundle gave as a label map on the grid of the volume.

    Args:
        folder: The bundle, for errors.
        found: MetaTensor of shape (1, *grid).
        volume: The image.
        values: Those that may occur besides 0.

    Raises:
        ModelError: If it is no label map.
    """
    if found.ndim != 4 or found.shape[0] != 1:
        raise ModelError(f"{folder}: expected one label map, got shape {tuple(found.shape)}")
    affine = np.asarray(found.affine.cpu(), dtype=np.float64)
    same = tuple(found.shape[1:]) == volume.array.shape
    if not (same and np.allclose(affine, volume.affine, atol=1e-3)):  # as SaveImage does
        resample = SpatialResample(mode="nearest", padding_mode="border", dtype=np.float64)
        found = resample(
            found, dst_affine=torch.as_tensor(volume.affine), spatial_size=volume.array.shape
        )
    array = np.asarray(found[0].cpu())
    strange = np.setdiff1d(np.unique(array), [0, *values])
    if len(strange):
        raise ModelError(
            f"{folder}: expected the values {[0, *values]} of its organs, got {strange[0]:g}"
        )
    return Volume(array.astype(np.min_scalar_type(max(values))), volume.affine)


def _loaded(volume: Volume, bundle: ZooBundle) -> MetaTensor:
    """A volume as ``LoadImaged`` gives it."""
    loading = next(one for one in bundle.preprocessing if one.target == "LoadImaged")
    array = torch.from_numpy(np.ascontiguousarray(volume.array).astype(np.float32))
    affine = torch.as_tensor(np.asarray(volume.affine, dtype=np.float64))
    first = bool(loading.arguments.get(CHANNEL_FIRST, False))
    meta = {
        "original_affine": affine.clone(),
        "spatial_shape": np.asarray(volume.array.shape),
        "original_channel_dim": 0 if first else float("nan"), "space": "RAS",
    }  # fmt: skip
    return MetaTensor(array[None] if first else array, affine=affine, meta=meta)


def _run_by_us(transforms: Sequence[Component]) -> list[Component]:
    return [one for one in transforms if one.target not in NOT_OURS]


def _built(package: Any, component: Component, reference: Compose | None = None) -> Any:
    arguments = {
        name: reference if isinstance(value, Component) else value
        for name, value in component.arguments.items()
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # for who wrote the bundle
            return getattr(package, component.target)(**arguments)
    except BUILD_ERRORS as error:
        said = _said(error)
        raise ModelError(f"{component.where}: {component.target}: {said}") from error


def _said(error: BaseException) -> str:
    """What was first said: MONAI wraps the errors of transforms."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__
