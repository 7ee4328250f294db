"""Weights of a bundle into its network; whatever the file holds, none of it is run."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.bundles.config import refuse_outside
from medseg.errors import ModelError
from medseg.model import build_network, no_larger_than

WEIGHTS = Path("models", "model.pt")
WRAPPERS = ("model", "state_dict", "network")  # keys under which trainers keep the weights
SPARE = 1 << 20


def load_network(folder: Path, network: Mapping[str, Any]) -> nn.Module:
    """Build a network by its dotted path and fill it with a bundle's ``models/model.pt``.

    Returns:
        The network in ``eval()`` mode on the CPU.

    Raises:
        ModelError: If the network is not trusted, or the weights are missing, damaged, hold more
            than numbers or belong to another network.
    """
    path = folder / WEIGHTS
    tensors = _read(folder, path)
    try:
        with no_larger_than(path, len(tensors)):
            built = build_network(network)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    try:
        built.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{path}: expected weights of {network['_target_']}; {reason}") from error
    return built.eval()


def _read(folder: Path, path: Path) -> dict[str, torch.Tensor]:
    refuse_outside(folder, path)
    try:
        with zipfile.ZipFile(path) as file:
            sizes = [one.file_size for one in file.infolist()]
        if sum(sizes) > path.stat().st_size + SPARE:
            raise ModelError(f"{path}: expected weights as torch.save writes them, got packed ones")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except zipfile.BadZipFile as error:
        raise ModelError(
            f"{path}: expected weights as torch.save writes them; the file is damaged or no zip"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError,
            AttributeError, OSError) as error:  # fmt: skip
        said = " ".join(str(error).split())[:120]
        raise ModelError(
            f"{path}: expected a state dictionary of numbers alone, damaged or holding code: {said}"
        ) from error
    while isinstance(found, dict) and (inner := [k for k in WRAPPERS if _is_dict(found.get(k))]):
        found = found[inner[0]]
    if not isinstance(found, dict) or not all(map(torch.is_tensor, found.values())):
        raise ModelError(f"{path}: expected a state dictionary, got {type(found).__name__}")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)
