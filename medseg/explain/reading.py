"""Attention weights, read by hooks while a network runs; the network knows nothing of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from medseg.errors import ResourceError, UsageError
from medseg.explain.patterns import (
    Mix,
    Pull,
    bytes_of,
    mixing_by,
    pulling_by,
    softmaxes_of,
)

Grid = tuple[int, ...]
COPIES = 3  # of the weights at once: themselves, their gradients or relevance, one on the way


@dataclass
class Layer:
    """What one attention layer gave.

    Attributes:
        name: Dotted name of the module in the network.
        before: Tokens that come before those of the grid, such as a class token.
        shape: Of the tokens that it read.
        parts: What its softmaxes gave, with their graph: of dense attention one, (B, M, N, N).
        mix: From such parts, or their gradients, and columns (N, n) to the products of the heads'
            matrices with them, (B, M, N, n); ``None`` where there is no pattern.
        pull: From parts and rows (B, N) to the rows' product with the mean over heads; likewise.
        heads: Of a pattern.
    """

    name: str
    before: int
    shape: tuple[int, ...]
    parts: list[torch.Tensor] = field(default_factory=list)
    mix: Mix | None = None
    pull: Pull | None = None
    heads: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether its one part is the matrix of all tokens, in a pattern or without one."""
        whole = (self.shape[0], self.heads, self.tokens, self.tokens)
        return self.mix is None or [tuple(part.shape) for part in self.parts] == [whole]

    @property
    def tokens(self) -> int:
        """Tokens N that attend to each other."""
        return self.shape[-2]

    @property
    def weights(self) -> torch.Tensor:
        """Attention weights, shape (B, M, N, N): row i says where token i looks."""
        return self.parts[0] if self.is_whole else self.columns(self.parts, slice(None))

    def columns(self, parts: list[torch.Tensor], wanted: slice) -> torch.Tensor:
        """Columns of the matrix of all tokens that parts make, (B, M, N, columns)."""
        if self.mix is None or self.is_whole:
            return parts[0][..., wanted]
        places = torch.arange(self.tokens, device=parts[0].device)[wanted]
        return self.mix(parts, F.one_hot(places, self.tokens).T)

    def sums(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Sums of the rows of each head's matrix that parts make, (B, M, N)."""
        if self.mix is None or self.is_whole:
            return parts[0].sum(dim=-1)
        return self.mix(parts, parts[0].new_ones(self.tokens, 1))[..., 0]


@dataclass
class Reading:
    """What was read in a forward pass.

    Attributes:
        layers: In the order in which they ran.
        grid: Tokens along each axis of the image.
        read_tokens: What the heads of a classifier read, one entry each: the index of a class or
            distillation token, or ``None`` for the mean of the grid.
    """

    layers: list[Layer] = field(default_factory=list)
    grid: Grid = ()
    read_tokens: tuple[int | None, ...] = (None,)


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Put a network in ``eval()`` for the block; each of its modules is as it was afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training


@contextmanager
def reading_attention(network: nn.Module, most_bytes: float | None = None) -> Iterator[Reading]:
    """Read the attention weights of every forward pass in the block.

    Attention is switched to its readable path and back afterwards, the hooks are removed, also
    after an error, and no parameter is touched. The weights keep their graph, so that gradients
    can be taken with respect to them.

    Args:
        network: Its attention layers have a softmax ``attend`` and a switch ``fused``, or a
            ``pattern`` of modules that have; what holds them has ``patch_embed``, and
            ``extra_tokens`` if there are any, as :class:`medseg.networks.vit.ViT`.
        most_bytes: What the weights of all layers may take with their gradients.

    Yields:
        What is read; it fills while the network runs.

    Raises:
        UsageError: If the network has no attention that can be read.
        ResourceError: If the weights would take more memory than allowed.
    """
    found, encoders = attention_layers(network), encoders_of(network)
    if not found:
        raise UsageError(
            f"{type(network).__name__} has no attention that can be read; grad_cam, "
            "integrated_gradients and occlusion explain any network"
        )
    reading, hooks = Reading(), []
    softmaxes = softmaxes_of(network)
    fused = [(module, module.fused) for module in softmaxes if hasattr(module, "fused")]
    try:
        for module, _ in fused:
            module.fused = False
        for encoder in encoders.values():
            hooks.append(encoder.patch_embed.register_forward_hook(_grid_hook(reading, encoder)))
        for name, module in found.items():
            limit = _limit_hook(most_bytes, len(found))
            hooks.append(module.register_forward_pre_hook(limit))
            before = next((_extra(e) for own, e in encoders.items() if is_within(name, own)), 0)
            hooks.append(module.register_forward_pre_hook(_layer_hook(reading, name, before)))
            if hasattr(module, "pattern"):
                own = _pattern_hook(reading, most_bytes, len(found))
                hooks.append(module.pattern.register_forward_pre_hook(own))
        for module in softmaxes:
            hooks.append(module.attend.register_forward_hook(_weights_hook(reading)))
        yield reading
    finally:
        for hook in hooks:
            hook.remove()
        for module, was_fused in fused:
            module.fused = was_fused


def attention_layers(network: nn.Module) -> dict[str, Any]:
    """Attention layers by their dotted names: what has a softmax, or a pattern of several."""
    patterns = {
        name: module
        for name, module in network.named_modules()
        if isinstance(getattr(module, "pattern", None), nn.Module) and softmaxes_of(module.pattern)
    }
    return {
        name: module
        for name, module in network.named_modules()
        if name in patterns
        or (_has_softmax(module) and not any(is_within(name, owner) for owner in patterns))
    }


def encoders_of(network: nn.Module) -> dict[str, Any]:
    """Transformers by their dotted names: what has ``patch_embed``."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(getattr(module, "patch_embed", None), nn.Module)
    }


def _has_softmax(module: nn.Module) -> bool:
    return isinstance(getattr(module, "attend", None), nn.Softmax)


def _extra(encoder: Any) -> int:
    return int(getattr(encoder, "extra_tokens", 0))


def is_within(name: str, owner: str) -> bool:
    """Whether a module is part of another, by their dotted names."""
    return not owner or name.startswith(f"{owner}.")


def _grid_hook(reading: Reading, encoder: Any) -> Any:
    def note(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
        reading.grid = tuple(output.shape[2:])
        class_token = getattr(encoder, "cls_token", None) is not None
        reading.read_tokens = (0,) if class_token else (None,)
        if _extra(encoder) > class_token:
            reading.read_tokens += (_extra(encoder) - 1,)

    return note


def _layer_hook(reading: Reading, name: str, before: int) -> Any:
    def note(_module: nn.Module, args: Any) -> None:
        reading.layers.append(Layer(name, before, tuple(args[0].shape)))

    return note


def _pattern_hook(reading: Reading, most_bytes: float | None, layers: int) -> Any:
    def note(pattern: nn.Module, args: Any) -> None:
        q, k, _, grid = args
        if q.is_meta:
            return
        layer = reading.layers[-1]
        if most_bytes is not None:
            _refuse_beyond(most_bytes, bytes_of(pattern, args), layers, layer.tokens)
        layer.mix = mixing_by(pattern, q, k, grid)
        layer.pull, layer.heads = pulling_by(pattern, q, k, grid), q.shape[2]

    return note


def _weights_hook(reading: Reading) -> Any:
    def note(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
        if output.is_meta:
            return
        if torch.is_grad_enabled() and not output.requires_grad:
            output.requires_grad_()  # of frozen networks too
        reading.layers[-1].parts.append(output)

    return note


def _limit_hook(most_bytes: float | None, layers: int) -> Any:
    def refuse(module: Any, args: Any) -> None:
        tokens = args[0]
        if most_bytes is None or tokens.ndim != 3 or hasattr(module, "pattern"):
            return
        one = len(tokens) * module.num_heads * tokens.shape[1] ** 2 * tokens.element_size()
        _refuse_beyond(most_bytes, one, layers, tokens.shape[1])

    return refuse


def _refuse_beyond(most_bytes: float, one: int, layers: int, tokens: int) -> None:
    needed = COPIES * layers * one
    if needed > most_bytes:
        raise ResourceError(
            f"{layers} layers of attention between {tokens} tokens take {needed / 1e9:.2g} GB, "
            f"more than the {most_bytes / 1e9:g} GB allowed; explain fewer slices at once, or "
            "use grad_cam or occlusion"
        )
