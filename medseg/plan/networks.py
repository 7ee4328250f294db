"""The networks that ``medseg plan`` knows, as config sections in two sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.plan.said import Said

NETWORKS = {"transunet": 2, "unet": 2, "transunet_3d": 3, "unet_3d": 3}
DEFAULT = {2: "transunet", 3: "transunet_3d"}
MOST_STRIDES = {"transunet": 4, "unet": 5, "transunet_3d": 4, "unet_3d": 5}
DENSE_TOKENS = 1024  # up to here, attention between all pairs costs little beside convolutions
LARGE_SIDE = 96  # a volume with no longer side is brought to 1/8, not 1/16


@dataclass(frozen=True)
class Size:
    """How wide a network is.

    Attributes:
        width: Channels at full size; they double from level to level.
        widest: The most channels.
        hidden: Width of a token.
        heads: Attention heads.
        why: For the config.
    """

    width: int
    widest: int
    hidden: int
    heads: int
    why: str


SIZES = {
    "cpu": Size(16, 128, 192, 6, "narrow, for a CPU"),
    "cuda": Size(32, 320, 384, 6, "wide, for a GPU"),
}


def most_strides(network: str, shape: Sequence[int]) -> int:
    """How many times a network may halve its input."""
    small = network == "transunet_3d" and max(shape) <= LARGE_SIDE
    return MOST_STRIDES[network] - small


def network_section(
    name: str,
    *,
    size: Size,
    strides: Said,
    patch: Sequence[int],
    channels: int,
    num_classes: int,
    attention: str,
) -> Mapping[str, Any]:
    """A config's ``network``.

    Args:
        name: One of :data:`NETWORKS`.
        size: How wide.
        strides: The step along each axis from level to level; TransUNet's own are fixed.
        patch: Sides of the input.
        channels: Of the input.
        num_classes: Of the output.
        attention: Kind of attention of ``transunet_3d``.
    """
    ends = {"in_channels": channels, "num_classes": num_classes}
    widths = [min(size.width * 2**level, size.widest) for level in range(len(strides.value) + 1)]
    if name == "transunet":
        return {"_target_": "medseg.networks.transunet.TransUNet", "image_size": "@image_size",
                **ends, **_transunet(size)}  # fmt: skip
    if name == "transunet_3d":
        tokens = _tokens(patch, strides.value)
        return {
            "_target_": "medseg.networks.transunet_3d.TransUNet3D",
            "image_size": "@geometry::patch_size",
            **ends,
            "attention": Said(attention, _why_attention(attention, tokens)),
            "widths": Said(widths, size.why),
            "strides": strides,
            "hidden_size": size.hidden,
            "mlp_dim": 4 * size.hidden,
            "num_heads": size.heads,
            "num_layers": 4,
            "dropout": 0.0,
        }
    return _unet(strides, Said(widths, size.why), channels, num_classes)


def _unet(strides: Said, widths: Said, channels: int, num_classes: int) -> dict[str, Any]:
    axes = len(strides.value[0])
    return {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": axes,
        "in_channels": channels,
        "out_channels": num_classes,
        "kernel_size": [[3] * axes] * len(widths.value),
        "strides": Said([[1] * axes, *strides.value], strides.why),
        "upsample_kernel_size": Said(strides.value, "as on the way down"),
        "filters": widths,
        "res_block": True,
    }


def attention_for(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> str:
    """Attention between all pairs of few tokens, in shifted windows of many."""
    return "dense" if _tokens(patch, strides) <= DENSE_TOKENS else "windowed"


def _transunet(size: Size) -> dict[str, Any]:
    if size.widest > SIZES["cpu"].widest:
        return {"variant": Said("R50-ViT-B_16", size.why)}
    return {
        "hidden_size": Said(size.hidden, size.why),
        "mlp_dim": 4 * size.hidden,
        "num_heads": size.heads,
        "num_layers": 4,
        "block_units": [2, 2, 2],
        "width_factor": 0.5,
        "dropout": 0.0,
        "decoder_channels": [256, 128, 64, 32, 16],
    }


def _tokens(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> int:
    tokens = 1
    for axis, side in enumerate(patch):
        step = 1
        for stride in strides:
            step *= stride[axis]
        tokens *= -(-side // step)
    return tokens


def _why_attention(attention: str, tokens: int) -> str:
    if attention == "dense":
        return f"all pairs of {tokens} tokens, no more than {DENSE_TOKENS}"
    return f"{tokens} tokens, more than the {DENSE_TOKENS} that all pairs are cheap for"
