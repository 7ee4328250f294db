"""Files as others publish them, made by the rules that the reference numbers were made with."""

import re
import zlib

import numpy as np
import torch

from tests.networks.original_keys import drawn, original_shapes

SMALL = {
    "hidden_size": 32, "mlp_dim": 48, "num_heads": 4, "num_layers": 2, "block_units": (2, 1, 1),
    "width_factor": 0.25, "decoder_channels": (32, 16, 16, 8, 8),
}  # fmt: skip
ATTENTION = "Transformer/encoderblock_{}/MultiHeadDotProductAttention_1"
TO_GOOGLE = (  # names of the original TransUNet, and Google's
    (r"transformer\.embeddings\.patch_embeddings\.(\w+)", r"embedding/\1"),
    (r"transformer\.embeddings\.position_embeddings", "Transformer/posembed_input/pos_embedding"),
    (r"transformer\.encoder\.encoder_norm\.(\w+)", r"Transformer/encoder_norm/\1"),
    (r".*layer\.(\d+)\.attention_norm\.(\w+)", r"Transformer/encoderblock_\1/LayerNorm_0/\2"),
    (r".*layer\.(\d+)\.ffn_norm\.(\w+)", r"Transformer/encoderblock_\1/LayerNorm_2/\2"),
    (r".*layer\.(\d+)\.ffn\.fc1\.(\w+)", r"Transformer/encoderblock_\1/MlpBlock_3/Dense_0/\2"),
    (r".*layer\.(\d+)\.ffn\.fc2\.(\w+)", r"Transformer/encoderblock_\1/MlpBlock_3/Dense_1/\2"),
    (r".*layer\.(\d+)\.attn\.(\w+)\.(\w+)",
     r"Transformer/encoderblock_\1/MultiHeadDotProductAttention_1/\2/\3"),
    (r".*root\.conv\.(\w+)", r"conv_root/\1"),
    (r".*root\.gn\.(\w+)", r"gn_root/\1"),
    (r".*(block\d)\.(unit\d+)\.downsample\.(\w+)", r"\1/\2/conv_proj/\3"),
    (r".*(block\d)\.(unit\d+)\.(\w+)\.(\w+)", r"\1/\2/\3/\4"),
)  # fmt: skip


def original_state(network):
    """The original's state dict for this network, every entry filled by its own key."""
    return {key: drawn(key, shape) for key, shape in original_shapes(network).items()}


def google_arrays(network, *, cls=True, head=None):
    """Arrays of Google's file for this network's backbone and encoder, filled by their names."""
    heads = network.encoder.blocks[0].attn.num_heads
    shapes = {}
    for key, shape in original_shapes(network).items():
        if key.startswith(("decoder", "segmentation_head")):
            continue
        name = next(re.sub(f"^{p}$", n, key) for p, n in TO_GOOGLE if re.fullmatch(p, key))
        shapes.update([_google(name, shape, heads)])
    width = shapes["Transformer/encoder_norm/scale"][0]
    if cls:
        tokens = shapes["Transformer/posembed_input/pos_embedding"][1]
        shapes["Transformer/posembed_input/pos_embedding"] = (1, tokens + 1, width)
        shapes["cls"] = (1, 1, width)
    if head:
        shapes |= {"head/kernel": (width, head), "head/bias": (head,)}
        shapes |= {"pre_logits/kernel": (width, width), "pre_logits/bias": (width,)}
    return {name: google_array(name, shape) for name, shape in shapes.items()}


def google_array(name, shape):
    """One array, by the rule that the reference was made with."""
    seed = zlib.crc32(f"npz:{name}".encode()) & 0xFFFFFFFF
    r = np.random.RandomState(seed).standard_normal(shape)
    if name.endswith("scale"):
        r = 1 + 0.1 * r
    elif name.endswith(("bias", "pos_embedding")):
        r = 0.02 * r
    else:
        r = r / np.sqrt(np.prod(shape[:-1]))
    return r.astype(np.float32)


def _google(name, shape, heads):
    """Google's name and axes of a weight whose axes are PyTorch's."""
    layer, _, leaf = name.rpartition("/")
    if "attn" in layer or "Attention" in layer:
        width = shape[0]
        if leaf == "bias":
            return name, (width,) if layer.endswith("out") else (heads, width // heads)
        split = (heads, width // heads)
        kernel = (*split, width) if layer.endswith("out") else (width, *split)
        return f"{layer}/kernel", kernel
    if leaf == "weight" and len(shape) == 4:
        return f"{layer}/kernel", (shape[2], shape[3], shape[1], shape[0])
    if leaf == "weight" and len(shape) == 2:
        return f"{layer}/kernel", shape[::-1]
    if leaf == "weight":
        leaf = "scale"
    backbone = layer.startswith(("block", "gn_root"))
    return (f"{layer}/{leaf}" if layer else name), ((1, 1, 1, *shape) if backbone else shape)


def save(path, content):
    """Write a state dict as PyTorch does, and return the path."""
    torch.save(content, path)
    return path


def save_npz(path, arrays):
    """Write arrays as Google does, and return the path."""
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path
