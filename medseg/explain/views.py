"""Views of a network itself: how far it looks, what its positions and filters are like."""

import itertools
import math
from typing import Any

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.flow import check_one_grid
from medseg.explain.places import places_of_tokens
from medseg.explain.reading import Grid, Layer, at_rest, encoders_of, reading_attention

COLUMNS = 512  # of a matrix of attention at once


def attention_distance(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Mean distance over which each head of each layer attends, in pixels of the image.

    The distance between two tokens of the grid, weighted by the attention between them, which is
    scaled to sum to 1 over the grid: class tokens have no place. The mean is over all tokens and
    images.

    Args:
        network: With attention.
        image: Shape (B, C, *spatial).

    Returns:
        Shape (L, M); heads that a layer does not have are ``nan``.

    Source:
        Dosovitskiy et al., arXiv:2010.11929, appendix D.7.
    """
    with at_rest(network), torch.no_grad(), reading_attention(network) as reading:
        network(image)
    check_one_grid(network, reading, len(image))
    step = places_of_tokens(network, image).step
    heads = [layer.heads or layer.parts[0].shape[1] for layer in reading.layers]
    found = torch.full((len(reading.layers), max(heads)), math.nan)
    for row, layer in zip(found, reading.layers, strict=True):
        mean = _mean_distance(layer, reading.grid, step)
        row[: len(mean)] = mean.cpu()
    return found


def position_similarity(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of each place's position embedding with all others', (N, N).

    The embedding is what the first block reads beyond the patches, so that every kind is seen.

    Args:
        network: With a transformer.
        image: Its size decides on the grid.

    Raises:
        UsageError: If nothing is added to the tokens of this network.

    Source:
        Dosovitskiy et al., arXiv:2010.11929, figure 7.
    """
    seen = _seen(network, image)
    added = (seen["first"] - seen["patches"])[0]
    if float(added.abs().max()) == 0:
        raise UsageError(
            f"{type(network).__name__} adds no position embedding to its tokens; relative "
            "positions act inside attention"
        )
    directions = nn.functional.normalize(added.double(), dim=-1)
    return (directions @ directions.T).float()


def patch_filters(network: nn.Module, count: int = 28) -> torch.Tensor:
    """Principal components of the filters that make tokens of patches, largest first.

    Args:
        network: With a transformer on the image itself.
        count: Components wanted, at most.

    Returns:
        Shape (count, in_channels, *patch), each of length 1.

    Raises:
        UsageError: If its tokens are made of features and not of the image.

    Source:
        Dosovitskiy et al., arXiv:2010.11929, figure 7.
    """
    weight: torch.Tensor = encoder_of(network).patch_embed.proj.weight.detach()  # (C, in, *patch)
    if math.prod(weight.shape[2:]) == 1:
        raise UsageError(
            f"the tokens of {type(network).__name__} are made of features of a convolutional "
            "network, whose filters are no patches of the image"
        )
    components, _ = _components(weight.flatten(1), count)
    return components.reshape(len(components), *weight.shape[1:])


def token_components(network: nn.Module, image: torch.Tensor, count: int = 3) -> torch.Tensor:
    """Encoded tokens as their first principal components, each scaled to 0..1 over the batch.

    Tokens of like content have like colours when three components are shown as red, green, blue.

    Args:
        network: With a transformer.
        image: Shape (B, C, *spatial).
        count: Components.

    Returns:
        Shape (B, count, *grid).
    """
    seen = _seen(network, image)
    tokens: torch.Tensor = seen["last"]  # (B, N, C)
    flat = tokens.flatten(0, 1)
    components, mean = _components(flat, count)
    values = (flat - mean) @ components.T  # (B N, count)
    low, high = values.amin(dim=0), values.amax(dim=0)
    scaled = ((values - low) / (high - low).clamp(min=1e-12)).reshape(*tokens.shape[:2], -1)
    on_grid: torch.Tensor = scaled.transpose(1, 2).reshape(len(tokens), -1, *seen["grid"])
    return on_grid


def encoder_of(network: nn.Module) -> Any:
    """The transformer that makes tokens of the image.

    Raises:
        UsageError: If there is none.
    """
    encoders = list(encoders_of(network).values())
    if not encoders:
        raise UsageError(f"{type(network).__name__} has no transformer to look into")
    return encoders[0]


def _seen(network: nn.Module, image: torch.Tensor) -> dict[str, Any]:
    """Patches, what the first block reads, and what the last norm gives; each (B, N, C)."""
    encoder, seen = encoder_of(network), dict[str, Any]()
    extra = getattr(encoder, "extra_tokens", 0)

    def patches(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
        seen["grid"] = tuple(output.shape[2:])
        seen["patches"] = output.flatten(2).transpose(1, 2)

    def first(_module: nn.Module, args: Any) -> None:
        seen["first"] = args[0][:, extra:]

    def last(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
        seen["last"] = output[:, extra:]

    hooks = [
        encoder.patch_embed.register_forward_hook(patches),
        encoder.blocks[0].register_forward_pre_hook(first),
        encoder.norm.register_forward_hook(last),
    ]
    try:
        with at_rest(network), torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _components(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal components (count, width) of rows (n, width), and the rows' mean.

    Signs are chosen so that the largest number of each is positive.
    """
    mean = rows.mean(dim=0)
    components = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:count]
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    return components * largest.sign(), mean


def _mean_distance(layer: Layer, grid: Grid, step: tuple[float, ...]) -> torch.Tensor:
    """Of each head, (M,), in pixels; a few columns of its matrix at a time."""
    places = torch.tensor(list(itertools.product(*map(range, grid))), dtype=torch.float32)
    pixels = (places * torch.tensor(step)).to(layer.parts[0].device)
    on_grid = slice(layer.before, layer.before + len(pixels))
    near, total = [], []
    for start in range(0, len(pixels), COLUMNS):
        wanted = pixels[start : start + COLUMNS]
        columns = slice(layer.before + start, layer.before + start + len(wanted))
        block = layer.columns(layer.parts, columns)[:, :, on_grid]
        near.append((block * torch.cdist(pixels, wanted)).sum(-1))
        total.append(block.sum(-1))
    return (torch.stack(near).sum(0) / torch.stack(total).sum(0)).mean(dim=(0, 2))
