"""The function behind ``medseg info --model``: what a network costs before it is trained."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from medseg.config import build_network, load_config
from medseg.errors import UsageError
from medseg.inference.predict import model_folder_of
from medseg.loading.geometry import PatchGeometry, SliceGeometry
from medseg.model import read_model
from medseg.networks.meta import (
    activation_bytes,
    allowed_sizes,
    fits,
    flops,
    on_meta,
    optimizer_bytes,
    weight_bytes,
)

NOTES = {
    "flops": "one forward pass of one slice or patch; a multiply-add counts as 2, norms, "
    "activations and resizing as 0",
    "memory": "float32; activations are what a forward pass keeps for the backward pass, with "
    "explicit attention (fused keeps less) and without the loss",
    "sizes": "found by trying some, without training",
}


def network_costs(model: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Parameters, FLOPs, memory and input sizes of a network, without computing anything.

    Args:
        model: YAML config, the name of a shipped one, a model folder or a run folder.
        overrides: ``"section::key=value"`` for a config.

    Returns:
        Plain data: ``"network"``, ``"input"`` (channels and sides), ``"parameters"`` (total,
        trainable, and by part), ``"flops"``, ``"bytes"`` by use, ``"batch_size"``, ``"sizes"`` and
        ``"notes"``, which say how each is counted. A model folder has no optimizer and a batch
        of one.

    Raises:
        ModelError: If a model folder is missing, damaged or not trusted.
        UsageError: If the config does not fit together, or the network does not take its input.
    """
    if Path(model).is_dir():
        if list(overrides):
            raise UsageError(f"{model}: a model folder takes no overrides")
        loaded = read_model(model_folder_of(model))
        network = on_meta(lambda: loaded.network.to("meta"))
        costs = _costs(network, loaded.spec.geometry, 1)
        return {"network": loaded.spec.network["_target_"], **costs}
    config = load_config(model, overrides)
    network = on_meta(lambda: build_network(config, pretrained=False)[0])
    costs = _costs(network, config.get_parsed_content("geometry"), _batch_size(config))
    costs["bytes"]["optimizer"] = optimizer_bytes(config.get_parsed_content("optimizer"))
    return {"network": config["network"]["_target_"], **costs}


def _costs(
    network: nn.Module, geometry: SliceGeometry | PatchGeometry, batch_size: int
) -> dict[str, Any]:
    channels, *size = geometry.input_shape
    shape = (1, channels, *size)
    misfit = fits(network, shape)
    if misfit:
        raise UsageError(f"network: an input of shape {shape} fails: {misfit}")
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    batch, double = (activation_bytes(network, (n * batch_size, channels, *size)) for n in (1, 2))
    return {
        "input": {"channels": channels, "size": size},
        "parameters": {
            "total": _count(network),
            "trainable": trainable,
            "parts": {name: _count(part) for name, part in network.named_children()},
        },
        "flops": flops(network, shape),
        "batch_size": batch_size,
        "bytes": {
            "weights": weight_bytes(network),
            "gradients": 4 * trainable,
            "activations_per_slice": (double - batch) // batch_size,
            "activations": batch,
        },
        "sizes": allowed_sizes(network, channels, size),
        "notes": NOTES,
    }


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _batch_size(config: Any) -> int:
    """Slices or patches per batch of the config's loader, 1 if it does not say."""
    loader = config["train_loader"]
    return (
        int(config.get_parsed_content("train_loader::batch_size")) if "batch_size" in loader else 1
    )
