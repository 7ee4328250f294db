"""What memory there is, and what the training of a config will need of it."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.config import build_network, load_config
from medseg.files import write_text
from medseg.networks.meta import activation_bytes, flops, on_meta, weight_bytes
from medseg.plan.said import plain, to_yaml

PROCESS = {"cpu": 0.7e9, "cuda": 0.6e9}  # Python, PyTorch and MONAI; a CUDA context
OF_ACTIVATIONS = {"cpu": 1.0, "cuda": 0.6}  # in 16 bits all but the norms
LOSS_TENSORS = 8  # of the logits' size, with their gradients
MARGIN = 1.25  # for gradients in flight, the convolutions' own work space, and gaps
FREE_SHARE = 0.9
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def pick(device: str) -> str:
    """``"cpu"`` or ``"cuda"``, for ``"auto"`` what there is."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device.partition(":")[0]


def free_bytes(device: str) -> float:
    """Memory free on the machine, in its control group, or on the GPU, less a tenth."""
    if device == "cuda":
        return FREE_SHARE * float(torch.cuda.mem_get_info()[0])
    return FREE_SHARE * min(_machine(), _control_group())


def bytes_of(content: Mapping[str, Any], device: str) -> float:
    """Memory that training takes of the whole process, or of the GPU, by a planned config.

    Weights, gradients, optimizer, average, activations and loss, counted on PyTorch's meta
    device; attention counts explicitly, fused attention keeps less.
    """
    network, shape = _on_meta(content)
    batch, _, *size = shape
    logits = 4 * batch * (len(content["labels"]) + 1) * math.prod(size)
    activations = activation_bytes(network, shape) + LOSS_TENSORS * logits
    weights = 5 * weight_bytes(network)  # themselves, gradients, AdamW's two, their average
    return PROCESS[device] + MARGIN * (weights + OF_ACTIVATIONS[device] * activations)


def step_flops(content: Mapping[str, Any]) -> int:
    """FLOPs of one training step of a planned config, forward and backward."""
    network, (batch, *one) = _on_meta(content)
    return 3 * batch * flops(network, (1, *one))


def _on_meta(content: Mapping[str, Any]) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a config, and the shape of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planned.yaml"
        write_text(path, to_yaml(plain(content)))
        config = load_config(path)
        network = on_meta(lambda: build_network(config, pretrained=False)[0])
        geometry = config.get_parsed_content("geometry")
    batch: int = plain(content)["train_loader"]["batch_size"]
    return network, (batch, *geometry.input_shape)


def _machine() -> float:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return math.inf
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * int(found[0]) if found else math.inf


def _control_group() -> float:
    """What the process's control group leaves, as batch systems and containers set it."""
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        return float(limit) - float(used)
    except (OSError, ValueError):  # no such group, or "max"
        return math.inf
