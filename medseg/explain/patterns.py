"""Attention in a pattern (windowed, axial, block-sparse), placed in the matrix of all tokens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

Mix = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]
Pull = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]


def mixing_by(pattern: nn.Module, q: torch.Tensor, k: torch.Tensor, grid: Any) -> Mix:
    """How to multiply a pattern's matrices with columns, whatever stands in their place.

    A pattern mixes values by its weights. Mixing unit vectors, one for each token, shows the
    weights themselves; with other numbers in their place, such as gradients, these come out
    where they belong. Nothing needs to be known of how the pattern cuts tokens into groups.

    Args:
        pattern: Module from queries, keys, values (B, N, M, D) and a grid to mixed values, with
            softmaxes ``attend`` within.
        q: Queries of the pass that is read.
        k: Its keys.
        grid: Of its tokens.

    Returns:
        A function from the parts, as the softmaxes gave them, and columns (N, n) to the products
        (B, M, N, n).
    """
    q, k = q.detach(), k.detach()

    def mix(parts: Sequence[torch.Tensor], columns: torch.Tensor) -> torch.Tensor:
        values = columns[None, :, None].expand(len(q), -1, q.shape[2], -1)
        with torch.no_grad(), _giving(pattern, parts):
            mixed: torch.Tensor = pattern(q, k, values.to(q), grid).transpose(1, 2)
        return mixed

    return mix


def pulling_by(pattern: nn.Module, q: torch.Tensor, k: torch.Tensor, grid: Any) -> Pull:
    """How to multiply rows with a pattern's matrices without ever placing these.

    The gradient of what a pattern mixes with respect to the values is the transposed matrix.

    Args:
        pattern: As for :func:`mixing_by`, and so are the others.
        q: Queries.
        k: Keys.
        grid: Of the tokens.

    Returns:
        A function from parts and rows, (B, N), to the product of the rows with the mean of the
        heads' matrices, (B, N).
    """
    q, k = q.detach(), k.detach()

    def pull(parts: Sequence[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        heads = q.shape[2]
        values = q.new_zeros(*rows.shape, heads, 1).requires_grad_()
        with torch.enable_grad(), _giving(pattern, parts):
            mixed = pattern(q, k, values, grid)  # (B, N, M, 1)
        weight = (rows / heads)[:, :, None, None].to(mixed.dtype).expand_as(mixed)
        return torch.autograd.grad(mixed, values, weight)[0].sum(dim=(2, 3))

    return pull


def bytes_of(pattern: nn.Module, args: Sequence[Any]) -> int:
    """What a pattern's softmaxes give takes in memory, found on PyTorch's meta device."""
    sizes: list[int] = []
    weights = {name: one.detach().to("meta") for name, one in pattern.named_parameters()}
    on_meta = [one.detach().to("meta") if torch.is_tensor(one) else one for one in args]

    def note(_module: nn.Module, args: Any) -> None:
        sizes.append(args[0].numel() * args[0].element_size())

    hooks = [module.attend.register_forward_pre_hook(note) for module in softmaxes_of(pattern)]
    try:
        with torch.no_grad():
            functional_call(pattern, weights, tuple(on_meta))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(sizes)


def softmaxes_of(network: nn.Module) -> list[Any]:
    """Modules with a softmax ``attend``."""
    return [
        module
        for module in network.modules()
        if isinstance(getattr(module, "attend", None), nn.Softmax)
    ]


@contextmanager
def _giving(pattern: nn.Module, parts: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let the softmaxes give these numbers, in the order in which they are called."""
    left = iter(parts)
    inner = softmaxes_of(pattern)
    fused = [module.fused for module in inner]
    hooks = [
        module.attend.register_forward_hook(lambda *_: next(left).detach()) for module in inner
    ]
    try:
        for module in inner:
            module.fused = False
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, was_fused in zip(inner, fused, strict=True):
            module.fused = was_fused
