"""The original TransUNet's names of weights, and weights that anybody can make again."""

import re
import zlib

import numpy as np
import torch

ROOT = "transformer.embeddings.hybrid_model"
EMBEDDINGS = "transformer.embeddings"
RULES = (
    (r"backbone\.root\.0\.", rf"{ROOT}.root.conv."),
    (r"backbone\.root\.1\.", rf"{ROOT}.root.gn."),
    (r"encoder\.patch_embed\.proj\.", rf"{EMBEDDINGS}.patch_embeddings."),
    (r"encoder\.pos_embed", rf"{EMBEDDINGS}.position_embeddings"),
    (r"encoder\.blocks\.(\d+)\.norm1\.", r"transformer.encoder.layer.\1.attention_norm."),
    (r"encoder\.blocks\.(\d+)\.norm2\.", r"transformer.encoder.layer.\1.ffn_norm."),
    (r"encoder\.blocks\.(\d+)\.mlp\.", r"transformer.encoder.layer.\1.ffn."),
    (r"encoder\.blocks\.(\d+)\.attn\.proj\.", r"transformer.encoder.layer.\1.attn.out."),
    (r"encoder\.blocks\.(\d+)\.attn\.qkv\.", r"transformer.encoder.layer.\1.attn.{}."),
    (r"encoder\.norm\.", "transformer.encoder.encoder_norm."),
    (r"decoder\.stem\.", "decoder.conv_more."),
    (r"head\.", "segmentation_head.0."),
)


def original_shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Name → shape of every entry of the original's state dict for this network."""
    shapes = {}
    for name, value in network.state_dict().items():
        for original in original_names(name):
            parts = len(original_names(name))
            shape = tuple(value.shape)
            shapes[original] = (shape[0] // parts, *shape[1:]) if parts > 1 else shape
    return shapes


def original_names(name: str) -> list[str]:
    """The original's names of one of our weights; three, where ours holds query, key and value."""
    unit = re.fullmatch(r"backbone\.block(\d)\.(\d+)\.(.+)", name)
    if unit:
        block, index, rest = unit.groups()
        return [f"{ROOT}.body.block{block}.unit{int(index) + 1}.{rest}"]
    for pattern, replacement in RULES:
        name, hits = re.subn("^" + pattern, replacement, name)
        if hits:
            break
    if "{}" in name:
        return [name.format(part) for part in ("query", "key", "value")]
    return [name]


def fill(network: torch.nn.Module) -> None:
    """Fill every weight by its original name, as the reference numbers were made with."""
    shapes = original_shapes(network)
    state = {}
    for name in network.state_dict():
        parts = [_drawn(original, shapes[original]) for original in original_names(name)]
        state[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
    network.load_state_dict(state)


def _drawn(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    r = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF).standard_normal(shape)
    if key.endswith("running_mean"):
        r = 0.1 * r
    elif key.endswith("running_var"):
        r = 1 + 0.1 * np.abs(r)
    elif key.endswith(("position_embeddings", "bias")):
        r = 0.02 * r
    elif len(shape) == 1:
        r = 1 + 0.1 * r
    else:
        r = r / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(r.astype(np.float32))
