"""Attention in a pattern (windowed, axial, block-sparse), placed in the matrix of all tokens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

Place = Callable[[Sequence[torch.Tensor], slice], torch.Tensor]
Pull = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]


def as_it_is(parts: Sequence[torch.Tensor], columns: slice) -> torch.Tensor:
    """Dense attention has one part, shape (B, M, N, N), and is placed already."""
    return parts[0][..., columns]


def placing_by(pattern: nn.Module, q: torch.Tensor, k: torch.Tensor, grid: Any) -> Place:
    """How to place what a pattern's softmaxes gave, or what belongs to it number by number.

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
        A function from the parts, as the softmaxes gave them, to those columns of a matrix
        (B, M, N, N) that a slice names.
    """
    q, k = q.detach(), k.detach()

    def place(parts: Sequence[torch.Tensor], columns: slice) -> torch.Tensor:
        batch, tokens, heads, _ = q.shape
        wanted = torch.arange(tokens, device=q.device)[columns]
        units = q.new_zeros(tokens, len(wanted))
        units[wanted, torch.arange(len(wanted), device=q.device)] = 1
        with torch.no_grad(), _giving(pattern, parts):
            values = units[None, :, None].expand(batch, -1, heads, -1)
            mixed = pattern(q, k, values, grid)  # (B, N, M, columns)
        whole: torch.Tensor = mixed.transpose(1, 2)
        return whole

    return place


def pulling_by(pattern: nn.Module, q: torch.Tensor, k: torch.Tensor, grid: Any) -> Pull:
    """How to multiply rows with a pattern's matrices without ever placing these.

    The gradient of what a pattern mixes with respect to the values is the transposed matrix.

    Args:
        pattern: As for :func:`placing_by`, and so are the others.
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
