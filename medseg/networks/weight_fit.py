"""One published weight into its place: as it is, resized, left out for a reason, or refused."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from medseg.networks.layers.grid import resize_positions

EXTRA_TOKENS = ("cls_token", "dist_token")  # in this order before those of the grid
PATCH_WEIGHT, PATCH_BIAS = "patch_embed.proj.weight", "patch_embed.proj.bias"


@dataclass(frozen=True)
class Fit:
    """What became of one weight.

    Attributes:
        tensor: What goes into the network; ``None`` if nothing does.
        note: How it was changed, or why nothing goes in.
        refused: Whether it claims its place but does not fit.
    """

    tensor: torch.Tensor | None
    note: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Source:
    """What must be known of a file to bring its weights to other sizes.

    Attributes:
        extra_tokens: Which of ``EXTRA_TOKENS`` it has; their position embeddings come first.
        image_size: Sides of the images it was trained on, where that is known.
        axes: 2 for a network of images, 3 for one of volumes; 0 if that is not known.
    """

    extra_tokens: Sequence[str] = ()
    image_size: tuple[int, ...] | None = None
    axes: int = 0


def fit(
    network: nn.Module, name: str, tensor: torch.Tensor, *, wanted: torch.Tensor, source: Source
) -> Fit:
    """Bring ``tensor`` to the shape of ``wanted``, the network's weight ``name``.

    Position embeddings of another grid are resized linearly, and those of class or distillation
    tokens dropped or left. The first convolution takes weights of three input channels for one
    (their sum, the same as repeating the image) or several (repeated, and scaled to the same sum).
    A patch convolution of another patch size is left alone; its bias is for the caller to leave.
    Kernels and positions of images are repeated along the depth for a network of volumes.
    """
    if tensor.shape == wanted.shape:
        return Fit(tensor)
    if tensor.ndim == 4 and wanted.ndim == 5:
        return _inflated(network, name, tensor, wanted=wanted, source=source)
    if "pos_embed" in name.split("."):
        return _positions(network, name, tensor, wanted=wanted, source=source)
    if name.endswith(PATCH_WEIGHT) and _another_patch(tensor, wanted):
        return Fit(None, f"patches of {_patch(tensor)} there, of {_patch(wanted)} here")
    if _first_convolution(tensor, wanted):
        return _stem(tensor, wanted)
    return _misfit(tensor, wanted)


def inflate(kernel: torch.Tensor, depth: int, *, standardised: bool = False) -> torch.Tensor:
    """A kernel for volumes that does what one of images does, if nothing changes along the depth.

    Args:
        kernel: Shape (C', C, h, w).
        depth: How often it is repeated.
        standardised: Whether the layer standardises its weights: then they keep their size, since
            the norm that follows takes away that their sum has grown. Else they are divided.

    Returns:
        Shape (C', C, h, w, ``depth``).

    Source:
        Carreira and Zisserman, I3D, arXiv:1705.07750.
    """
    repeated = kernel[..., None].expand(*kernel.shape, depth)
    return repeated if standardised else repeated / depth


def differs_by_classes(wanted: Sequence[int], got: Sequence[int], name: str) -> tuple[int, int]:
    """Classes wanted and given, if the shapes differ in nothing else; else ``(0, 0)``.

    Classes are the outputs of a layer, its first axis; in Segmenter's ``cls_emb`` the second.
    """
    axis = 1 if name.endswith("cls_emb") else 0
    if len(wanted) != len(got) or not wanted:
        return 0, 0
    differing = [i for i, (one, other) in enumerate(zip(wanted, got, strict=True)) if one != other]
    return (wanted[axis], got[axis]) if differing == [axis] else (0, 0)


def _misfit(tensor: torch.Tensor, wanted: torch.Tensor) -> Fit:
    return Fit(None, f"expected shape {_shape(wanted)}, got {_shape(tensor)}", refused=True)


def _inflated(
    network: nn.Module, name: str, tensor: torch.Tensor, *, wanted: torch.Tensor, source: Source
) -> Fit:
    layer, depth = network.get_submodule(name.rpartition(".")[0]), wanted.shape[-1]
    volume = inflate(tensor, depth, standardised=hasattr(layer, "standardised"))
    if name.endswith(PATCH_WEIGHT) and _other_features(volume, wanted):
        return Fit(None, f"patches of {_patch(tensor)} there, of {_patch(wanted)} here")
    one = fit(network, name, volume, wanted=wanted, source=source)
    if one.tensor is None or depth == 1:
        return one
    notes = [f"repeated {depth} times along the depth", *filter(None, [one.note])]
    return Fit(one.tensor, ", ".join(notes))


def _positions(
    network: nn.Module, name: str, tensor: torch.Tensor, *, wanted: torch.Tensor, source: Source
) -> Fit:
    vit = network.get_submodule(name.partition("pos_embed")[0].rstrip("."))
    grid: tuple[int, ...] | None = getattr(vit, "grid", None)
    extra, kind = list(source.extra_tokens), getattr(vit, "positions", "learned_1d")
    if (
        grid is None
        or kind != "learned_1d"
        or tensor.ndim != 3
        or tensor.shape[::2] != wanted.shape[::2]
    ):
        return _misfit(tensor, wanted)
    flat = grid[:2] if source.axes == 2 else grid  # the grid of an image is that of each depth
    theirs = _guess_grid(tensor.shape[1] - len(extra), flat, source.image_size)
    if theirs is None:  # some give class tokens no position
        extra, theirs = [], _guess_grid(tensor.shape[1], flat, source.image_size)
    if theirs is None:
        note = f"expected positions of a square grid or one shaped like {_by(grid)}"
        return Fit(None, f"{note}, got {tensor.shape[1]} tokens", refused=True)
    ours = [token for token in EXTRA_TOKENS if getattr(vit, token, None) is not None]
    first = {token: tensor[:, extra.index(token), None] for token in extra}
    kept = [first.get(token, wanted[:, i, None]) for i, token in enumerate(ours)]
    places = resize_positions(tensor[:, len(extra) :].float(), theirs, flat)
    if len(flat) < len(grid):
        places = places[:, :, None].expand(-1, -1, grid[2], -1).flatten(1, 2)
    notes = [f"grid {_by(theirs)} → {_by(grid)}"] if theirs != tuple(grid) else []
    notes += [f"{token} dropped" for token in extra if token not in ours]
    notes += [f"{token} left" for token in ours if token not in extra]
    return Fit(torch.cat([part.to(places) for part in [*kept, places]], dim=1), ", ".join(notes))


def _guess_grid(
    count: int, ours: Sequence[int], image_size: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """The grid of ``count`` tokens: of the images' shape if that is known, square, or like ours."""
    if count < 1:
        return None
    if image_size is not None and len(image_size) == len(ours):
        for patch in range(1, max(image_size) + 1):
            grid = tuple(-(-side // patch) for side in image_size)
            if math.prod(grid) == count:
                return grid
    for shape in ((1,) * len(ours), ours):
        scale = (count / math.prod(shape)) ** (1 / len(ours))
        grid = tuple(max(1, round(side * scale)) for side in shape)
        if math.prod(grid) == count:
            return grid
    return None


def _another_patch(tensor: torch.Tensor, wanted: torch.Tensor) -> bool:
    return tensor.shape[0] == wanted.shape[0] and (
        tensor.ndim != wanted.ndim or tensor.shape[2:] != wanted.shape[2:]
    )


def _other_features(tensor: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether a patch convolution reads features of another width, of another network."""
    return tensor.shape[0] == wanted.shape[0] and tensor.shape[1] not in (1, 3, wanted.shape[1])


def _first_convolution(tensor: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether only the channels of the image differ: three or one there, any number here."""
    return (
        tensor.ndim == wanted.ndim
        and tensor.ndim >= 4
        and tensor.shape[1] in (1, 3)
        and tensor.shape[0] == wanted.shape[0]
        and tensor.shape[2:] == wanted.shape[2:]
    )


def _stem(tensor: torch.Tensor, wanted: torch.Tensor) -> Fit:
    given, channels = tensor.shape[1], wanted.shape[1]
    if channels == 1:
        return Fit(tensor.sum(1, keepdim=True), f"{given} input channels summed into 1")
    index = torch.arange(channels) % given
    repeated = tensor[:, index] * (given / channels)
    return Fit(repeated, f"{given} input channels repeated into {channels}, scaled")


def _patch(weight: torch.Tensor) -> str:
    return f"{_by(weight.shape[2:])} of {weight.shape[1]} channels"


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _shape(tensor: torch.Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
