"""Published names of weights in ours: the original TransUNet's, Google's, timm's, torchvision's.

First every name is turned into the one that TransUNet has here (``backbone.…``, ``encoder.…``,
``decoder.…``, ``head.…``), whatever file it comes from; names that no rule knows stay, which is
right for timm's, torchvision's and our own. Then one prefix is chosen for all names of a file, so
that a ViT's weights go into ``encoder`` or a ResNet's into ``backbone``.
"""

import re
from collections.abc import Iterable, Mapping

import torch

from medseg.errors import ModelError

HYBRID = r"transformer\.embeddings\.hybrid_model"
LAYER = r"transformer\.encoder\.layer\.(\d+)"
GOOGLE = r"Transformer/encoderblock_(\d+)"
ATTENTION = rf"{GOOGLE}/MultiHeadDotProductAttention_1"
QKV = ("query", "key", "value")

# of the original TransUNet, as regular expressions, and ours
ORIGINAL = (
    (rf"{HYBRID}\.root\.conv\.", "backbone.root.0."),
    (rf"{HYBRID}\.root\.gn\.", "backbone.root.1."),
    (r"transformer\.embeddings\.patch_embeddings\.", "encoder.patch_embed.proj."),
    (r"transformer\.embeddings\.position_embeddings", "encoder.pos_embed"),
    (rf"{LAYER}\.attention_norm\.", r"encoder.blocks.\1.norm1."),
    (rf"{LAYER}\.ffn_norm\.", r"encoder.blocks.\1.norm2."),
    (rf"{LAYER}\.ffn\.", r"encoder.blocks.\1.mlp."),
    (rf"{LAYER}\.attn\.out\.", r"encoder.blocks.\1.attn.proj."),
    (rf"{LAYER}\.attn\.(query|key|value)\.", r"encoder.blocks.\1.attn.\2."),
    (r"transformer\.encoder\.encoder_norm\.", "encoder.norm."),
    (r"decoder\.conv_more\.", "decoder.stem."),
    (r"segmentation_head\.0\.", "head."),
)
# of Google's .npz files; what follows is kernel, scale or bias
JAX = (
    (r"embedding/", "encoder.patch_embed.proj/"),
    (r"cls$", "encoder.cls_token"),
    (r"Transformer/posembed_input/pos_embedding", "encoder.pos_embed"),
    (r"Transformer/encoder_norm/", "encoder.norm/"),
    (rf"{GOOGLE}/LayerNorm_0/", r"encoder.blocks.\1.norm1/"),
    (rf"{GOOGLE}/LayerNorm_2/", r"encoder.blocks.\1.norm2/"),
    (rf"{GOOGLE}/MlpBlock_3/Dense_0/", r"encoder.blocks.\1.mlp.fc1/"),
    (rf"{GOOGLE}/MlpBlock_3/Dense_1/", r"encoder.blocks.\1.mlp.fc2/"),
    (rf"{ATTENTION}/out/", r"encoder.blocks.\1.attn.proj/"),
    (rf"{ATTENTION}/(query|key|value)/", r"encoder.blocks.\1.attn.\2/"),
    (r"head/", "encoder.head/"),
    (r"conv_root/", "backbone.root.0/"),
    (r"gn_root/", "backbone.root.1/"),
)
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
PREFIXES = ("", "encoder.", "backbone.", "model.", "network.", "net.")


def rename(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, str]]:
    """Our name → weights in our axis order, and the published name they come from.

    Query, key and value are joined into one.

    Raises:
        ModelError: If one of the three is missing or of another shape.
    """
    found: dict[str, tuple[torch.Tensor, str]] = {}
    wrapped = all(name.startswith("module.") for name in tensors)  # by DataParallel
    for published, tensor in tensors.items():
        name = published.removeprefix("module.") if wrapped else published
        if "/" in name or name == "cls":
            found[_jax_name(name)] = (_turned(name, tensor), published)
        else:
            found[_original_name(name)] = (tensor, published)
    return _joined(found)


def place(names: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Name → our weight it is for, after taking off and putting on the prefixes that fit best.

    Names that have no place are left out.
    """
    names, places = list(names), set(ours)
    best: dict[str, str] = {}
    for strip in PREFIXES:
        rest = {name: name[len(strip) :] for name in names if name.startswith(strip)}
        for add in PREFIXES[:3]:
            hits = {name: add + tail for name, tail in rest.items() if add + tail in places}
            if len(hits) > len(best):
                best = hits
    return best


def _original_name(name: str) -> str:
    unit = re.fullmatch(rf"{HYBRID}\.body\.block(\d)\.unit(\d+)\.(.+)", name)
    if unit:
        return f"backbone.block{unit[1]}.{int(unit[2]) - 1}.{unit[3]}"
    return _first(ORIGINAL, name)


def _jax_name(name: str) -> str:
    unit = re.fullmatch(r"block(\d)/unit(\d+)/(\w+)/(\w+)", name)
    if unit:
        layer = "downsample" if unit[3] == "conv_proj" else unit[3]
        name = f"backbone.block{unit[1]}.{int(unit[2]) - 1}.{layer}/{unit[4]}"
    else:
        name = _first(JAX, name)
    layer, slash, leaf = name.rpartition("/")
    return f"{layer}.{LEAVES.get(leaf, leaf)}" if slash else name


def _first(rules: Iterable[tuple[str, str]], name: str) -> str:
    for pattern, ours in rules:
        renamed, hits = re.subn(f"^{pattern}", ours, name)
        if hits:
            return renamed
    return name


def _turned(name: str, array: torch.Tensor) -> torch.Tensor:
    """Google's axes in PyTorch's order: inputs come before outputs there."""
    leaf = name.rpartition("/")[2]
    if leaf == "kernel" and array.ndim == 4:
        return array.permute(3, 2, 0, 1)  # HWIO to OIHW
    if leaf == "kernel" and array.ndim == 3:  # heads and their width are axes of their own
        inputs = array.shape[0] if not name.endswith("out/kernel") else array.shape[:2].numel()
        return array.reshape(inputs, -1).T
    if leaf == "kernel" and array.ndim == 2:
        return array.T
    if leaf in ("scale", "bias"):
        return array.flatten()
    return array


def _joined(
    found: Mapping[str, tuple[torch.Tensor, str]],
) -> dict[str, tuple[torch.Tensor, str]]:
    joined = {}
    for name, (tensor, published) in found.items():
        part = re.search(r"\.attn\.(query|key|value)\.", name)
        if part is None:
            joined[name] = (tensor, published)
            continue
        before, after = name[: part.start()], name[part.end() :]
        names = [f"{before}.attn.{which}.{after}" for which in QKV]
        missing = [one for one in names if one not in found]
        if missing:
            raise ModelError(f"{published}: expected {missing[0]} beside it, got none")
        parts = [found[one][0] for one in names]
        if len({one.shape for one in parts}) != 1:
            raise ModelError(f"{published}: expected query, key and value of one shape")
        joined[f"{before}.attn.qkv.{after}"] = (torch.cat(parts), found[names[0]][1])
    return joined
