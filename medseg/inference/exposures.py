"""Exposures of any size through a network of fixed size: scores and masks on their own pixels."""

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from medseg.case import Case
from medseg.errors import ModelError
from medseg.inference.native import values_of_classes
from medseg.inference.slices import PRECISIONS
from medseg.loading.sky import normalise
from medseg.model import LoadedModel
from medseg.volumes import Volume
from medseg.volumes.exposure import Exposure, exposure_of

OVERLAP = 0.25  # of neighbouring windows, along each axis


def score_exposure(
    model: LoadedModel,
    exposure: Exposure,
    *,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> np.ndarray:
    """How much each pixel looks like a cosmic ray to the network.

    Windows of the network's size overlap by a quarter; where they do, their logits are averaged
    with weights that fall towards a window's edge. Beyond the exposure the network sees empty sky.

    Args:
        model: For exposures: its preprocessing names ``sky``; its network is on ``device``.
        exposure: Of any size.
        batch_size: Windows per forward pass.
        device: Where the network runs.
        precision: ``"bfloat16"`` or ``"float16"`` (autocast); anything else is float32.

    Returns:
        Logits of the class against the background, float32, shape (H, W): above 0 where the
        network's probability is above one half.

    Raises:
        ModelError: If the model is not for exposures.
    """
    limits = limits_of(model)
    image = normalise(exposure.image, exposure.sky, exposure.noise, limits)
    empty = float(normalise(np.zeros(1), 0, 1, limits)[0])
    inputs = torch.from_numpy(image)[None, None].to(device)
    dtype = PRECISIONS.get(precision, torch.float32)

    def forward(windows: torch.Tensor) -> torch.Tensor:
        with torch.autocast(windows.device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits: torch.Tensor = model.network(windows)
        logits = logits.float()
        return logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]

    with torch.inference_mode():
        scores = sliding_window_inference(
            inputs, model.spec.geometry.input_shape[1:], batch_size, forward,
            overlap=OVERLAP, mode="gaussian", cval=empty,
        )  # fmt: skip
    return np.asarray(scores[0, 0].cpu().numpy(), dtype=np.float32)


def predict_exposure(
    model: LoadedModel,
    case: Case,
    *,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> Volume:
    """Mask of one exposure on its own pixels, with the value that the model's card names.

    Args:
        model: As in :func:`score_exposure`.
        case: A FITS image or an array file; a mask that it brings is not looked at.
        batch_size: As in :func:`score_exposure`.
        device: As in :func:`score_exposure`.
        precision: As in :func:`score_exposure`.

    Returns:
        Shape (X, Y, 1), rows first, in the smallest unsigned type that holds the value, with the
        identity as affine.

    Raises:
        InputError: If the exposure cannot be read.
        ModelError: If the model is not for exposures.
    """
    scores = score_exposure(
        model, exposure_of(case), batch_size=batch_size, device=device, precision=precision
    )
    mask = values_of_classes(model.spec.labels)[(scores > 0).astype(np.uint8)]
    return Volume(mask[..., np.newaxis], np.eye(4))


def limits_of(model: LoadedModel) -> tuple[float, float]:
    """The limits that the model's exposures are scaled with.

    Raises:
        ModelError: If the model is not for exposures.
    """
    spec = model.spec
    one = len(spec.labels) == 1 and len(spec.geometry.input_shape) == 3
    if spec.preprocessing.sky is None or not one or spec.geometry.channels != 1:
        raise ModelError(
            "expected a model for exposures (preprocessing with sky, one label, slices of one "
            f"channel), got one with {spec.preprocessing}, {len(spec.labels)} labels and inputs of "
            f"shape {spec.geometry.input_shape}"
        )
    return spec.preprocessing.sky
