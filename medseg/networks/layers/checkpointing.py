"""Activations computed again in the backward pass, instead of being kept."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def run(module: Callable[..., torch.Tensor], *inputs: Any, again: bool) -> torch.Tensor:
    """Call ``module``; ``again``: keep its inputs alone, and compute it a second time backwards.

    Outputs and gradients are the same, dropout included. Without gradients nothing is kept anyway.
    """
    if not (again and torch.is_grad_enabled()):
        out: torch.Tensor = module(*inputs)
        return out
    kept: torch.Tensor = checkpoint(module, *inputs, use_reentrant=False)
    return kept
