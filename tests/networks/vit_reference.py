"""Weights and inputs that the numbers of ``reference/vit.npz`` were made with."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "reference"


def reference(name):
    with np.load(FOLDER / "vit.npz") as numbers:
        return torch.from_numpy(numbers[name])


def settings():
    return json.loads((FOLDER / "vit.json").read_text())


def drawn(name, shape, scale=1.0):
    """Numbers that depend on the name alone."""
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    return torch.from_numpy((random.standard_normal(shape) * scale).astype(np.float32))


def fill(module, scale):
    """Fill every weight by its own name within the module."""
    state = {}
    for name, value in module.state_dict().items():
        state[name] = drawn(name, tuple(value.shape), scale)
        if value.ndim == 1 and name.endswith(".weight"):
            state[name] = 1 + state[name]
    module.load_state_dict(state)
    return module
