"""One volume in, its label map on its own grid out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg.errors import ResourceError, UsageError
from medseg.inference.native import (
    paint_labels,
    resample_logits,
    same_grid,
    turn_to_native,
)
from medseg.inference.path import Path as NetworkPath
from medseg.inference.path import check_precision, choose_path
from medseg.inference.slices import logits_of_slices, predict_slices, sample_inputs
from medseg.loading.preprocessing import prepare_image
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Header, Volume


@dataclass(frozen=True)
class PredictSettings:
    """How the network is run.

    Attributes:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        batch_size: Slices per forward pass.
        precision: ``"auto"``, the quickest that is safe; ``"float32"``, ``"bfloat16"`` or, on
            CUDA, ``"float16"``; see :func:`medseg.inference.path.choose_path`.
        suffix: Format of the label maps; those of FITS images are FITS.
        overwrite: Replace label maps that are there already.
    """

    device: str = "auto"
    batch_size: int = 16
    precision: str = "auto"
    suffix: str = ".nii.gz"
    overwrite: bool = False


class Predictor:
    """Predict one volume after the other, on the quickest safe path through the network.

    Args:
        model: Stays as it is, but that its network is moved to the device.
        settings: How to run; ``suffix`` and ``overwrite`` do not matter here.

    Attributes:
        path: How the network is run, chosen on slices of the first volume; ``None`` before.

    Raises:
        UsageError: If device or precision are unknown or not there.
    """

    def __init__(self, model: LoadedModel, settings: PredictSettings | None = None) -> None:
        self.model = model
        self.settings = settings or PredictSettings()
        self.device = pick_device(self.settings.device)
        check_precision(self.settings.precision, self.device)
        self.path: NetworkPath | None = None
        model.network.to(self.device)

    def __call__(self, volume: Volume) -> Volume:
        """Label map of a volume on its own grid.

        Raises:
            ResourceError: If memory ran out.
        """
        run = {"batch_size": self.settings.batch_size, "device": self.device}
        return _label_map(self.model.spec, volume, self._network_for, run)

    def _network_for(self, images: np.ndarray) -> nn.Module:
        if self.path is None:
            sample = sample_inputs(images, self.model.spec.geometry, self.device)
            self.path = choose_path(self.model.network, sample, self.settings.precision)
        return self.path.network


def predict_volume(
    model: LoadedModel,
    volume: Volume,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> Volume:
    """Label map of one volume on its own grid: same shape, affine and orientation.

    The network is run as it is, under autocast if ``precision`` is not float32;
    :class:`Predictor` is faster for whole volumes.

    Raises:
        ResourceError: If memory ran out.
    """
    run = {"batch_size": batch_size, "device": device, "precision": precision}
    return _label_map(model.spec, volume, lambda _: model.network, run)


def pick_device(name: str) -> torch.device:
    """Turn ``auto`` into the GPU if there is one.

    Raises:
        UsageError: If the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name!r}: there is no CUDA device here; use cpu or auto")
    return device


def _label_map(
    spec: ModelSpec,
    volume: Volume,
    network_for: Callable[[np.ndarray], nn.Module],
    run: dict[str, Any],
) -> Volume:
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    prepared = prepare_image(volume, spec.preprocessing)
    images = np.ascontiguousarray(prepared.array.transpose(2, 0, 1))  # (Z, X, Y)
    try:
        network = network_for(images)
        if same_grid(prepared.affine, prepared.array.shape, native):
            classes = predict_slices(network, images, spec.geometry, **run)
            on_native = turn_to_native(classes.transpose(1, 2, 0), native)
        else:
            batches = logits_of_slices(network, images, spec.geometry, **run)
            logits = np.concatenate([part.half().cpu().numpy() for _, part in batches])
            on_native = resample_logits(logits.transpose(1, 2, 3, 0), prepared.affine, native)
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        lacking = f"out of memory on {run['device']}; try a smaller --batch-size"
        raise ResourceError(lacking) from error
    return paint_labels(on_native, dict(spec.labels), native)


def _lacks_memory(error: Exception) -> bool:
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)
