"""Features of places in the image, wherever a network has them: maps and tokens."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.reading import Grid, attention_layers, encoders_of, is_within


@dataclass
class Layout:
    """What ran in a forward pass.

    Attributes:
        maps: Module → grid of the features it gave, in the order they ran; of a transformer's
            modules none, and none that ran before it.
        last_attention: The last attention layer of the transformer that the image goes through.
        grid: Its tokens along each axis.
    """

    maps: dict[str, Grid] = field(default_factory=dict)
    last_attention: str = ""
    grid: Grid = ()


def layout_of(network: nn.Module, image: torch.Tensor) -> Layout:
    """Run the network once and note which module gives features on which grid."""
    layout, hooks = Layout(), []
    attention, encoders = attention_layers(network), encoders_of(network)
    embeds = {f"{name}.patch_embed".lstrip(".") for name in encoders}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if name in attention and any(is_within(name, owner) for owner in encoders):
                layout.last_attention = name
                layout.maps.clear()  # what came before has not seen the whole image
            if isinstance(output, torch.Tensor) and output.ndim == image.ndim:
                grid = tuple(output.shape[2:])
                layout.maps[name] = grid
                layout.grid = grid if name in embeds else layout.grid

        return hook

    try:
        for name, module in network.named_modules():
            hooks.append(module.register_forward_hook(note(name)))
        with torch.no_grad():
            network(image[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return layout


def best_module(network: nn.Module, layout: Layout) -> str:
    """The last module at the coarsest resolution; or the last attention, if that is coarser.

    Raises:
        UsageError: If the network has no features of places in the image.
    """
    maps = {name: math.prod(grid) for name, grid in layout.maps.items() if name}
    maps = {name: count for name, count in maps.items() if count > 1}
    coarsest = min(maps.values(), default=0)
    if layout.last_attention and (not maps or coarsest > math.prod(layout.grid)):
        return layout.last_attention
    if not maps:
        raise UsageError(f"{type(network).__name__} gives no features of places in the image")
    return [name for name, count in maps.items() if count == coarsest][-1]


@contextmanager
def keeping(network: nn.Module, name: str) -> Iterator[list[torch.Tensor]]:
    """Keep what a module gives, or an attention layer reads, with its graph.

    Raises:
        UsageError: If there is no such module.
    """
    module = dict(network.named_modules()).get(name)
    if module is None:
        kind, near = type(network).__name__, _near(network, name)
        raise UsageError(f"{kind} has no module {name!r}; the nearest are {near}")
    kept: list[torch.Tensor] = []

    def keep(features: Any) -> Any:
        if not isinstance(features, torch.Tensor):
            return features
        kept.append(features if features.requires_grad else features.requires_grad_())
        return features.view_as(features)  # what follows may work in place

    if name in attention_layers(network):
        hook = module.register_forward_pre_hook(lambda _, args: (keep(args[0]), *args[1:]))
    else:
        hook = module.register_forward_hook(lambda _module, _args, output: keep(output))
    try:
        yield kept
    finally:
        hook.remove()


def on_grid(features: torch.Tensor, layout: Layout, axes: int) -> torch.Tensor:
    """Features of tokens (B, N, C) as those of places (B, C, *grid); maps stay as they are.

    Raises:
        UsageError: If they are neither.
    """
    if features.ndim == axes + 2:
        return features
    count = math.prod(layout.grid)
    if features.ndim != 3 or not layout.grid or features.shape[1] < count:
        raise UsageError(f"expected features of places, got a shape of {tuple(features.shape)}")
    places = features[:, features.shape[1] - count :].transpose(1, 2)
    return places.reshape(*places.shape[:2], *layout.grid)


def _near(network: nn.Module, name: str) -> str:
    """Names of modules: those spelt alike, else the network's parts."""
    names = [one for one, _ in network.named_modules() if one]
    found = get_close_matches(name, names, n=4) or [one for one, _ in network.named_children()]
    return ", ".join(found)
