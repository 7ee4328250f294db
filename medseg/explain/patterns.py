"""Attention in a pattern (windowed, axial, block-sparse), placed in the matrix of all tokens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

Place = Callable[[Sequence[torch.Tensor]], torch.Tensor]


def as_it_is(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Dense attention has one part, shape (B, M, N, N), and is placed already."""
    return parts[0]


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
        A function from the parts, as the softmaxes gave them, to a matrix (B, M, N, N).
    """
    q, k = q.detach(), k.detach()

    def place(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        batch, tokens, heads, _ = q.shape
        units = torch.eye(tokens, dtype=q.dtype, device=q.device)[None, :, None]
        with torch.no_grad(), _giving(pattern, parts):
            mixed = pattern(q, k, units.expand(batch, -1, heads, -1), grid)  # (B, N, M, N)
        whole: torch.Tensor = mixed.transpose(1, 2)
        return whole

    return place


@contextmanager
def _giving(pattern: nn.Module, parts: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let the softmaxes give these numbers, in the order in which they are called."""
    left = iter(parts)
    inner: list[Any] = [
        m for m in pattern.modules() if isinstance(getattr(m, "attend", None), nn.Softmax)
    ]
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
