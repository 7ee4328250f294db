"""Self-attention over a grid of tokens, whoever attends to whom."""

import math

import numpy as np
import torch
from torch import nn

from medseg.networks.layers.attention.mixing import Mixing
from medseg.networks.layers.grid import Grid


class GridAttention(nn.Module):
    """Multi-head self-attention in a pattern; parameters are named as in timm.

    All patterns have the same parameters, save the bias tables of windows, so that weights
    trained with one go into another.

    Args:
        channels: Width C of a token; a multiple of ``num_heads``.
        num_heads: Attention heads M; each has width C / M.
        pattern: Module from queries, keys and values, each (B, N, M, C/M), and the grid to
            mixed values of that shape.
    """

    def __init__(self, channels: int, num_heads: int, pattern: nn.Module) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"channels ({channels}) must be a multiple of num_heads ({num_heads})")
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.pattern = pattern
        self.proj = nn.Linear(channels, channels)

    @property
    def fused(self) -> bool:
        """Whether every softmax is fused; setting it sets them all."""
        return all(part.fused for part in self.modules() if isinstance(part, Mixing))

    @fused.setter
    def fused(self, value: bool) -> None:
        for part in self.modules():
            if isinstance(part, Mixing):
                part.fused = value

    def forward(self, tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Let every token attend to those that its pattern shows it.

        Args:
            tokens: Shape (B, N, C), row after row.
            grid: Tokens along each axis; their product is N.

        Returns:
            Shape (B, N, C).
        """
        if tokens.shape[1] != math.prod(grid):
            raise ValueError(f"a grid of {tuple(grid)} was given for {tokens.shape[1]} tokens")
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, M, C/M)
        mixed = self.pattern(*qkv.unbind(2), tuple(grid))  # (B, N, M, C/M)
        out: torch.Tensor = self.proj(mixed.flatten(2))  # (B, N, C)
        return out

    def mask_of(self, grid: Grid) -> np.ndarray:
        """Which key (last axis) each query of each head sees, shape (M, N, N), bool.

        Dense attention under this mask (and the bias of windows) gives the same.
        """
        mask: np.ndarray = self.pattern.mask_of(tuple(grid))  # type: ignore[operator]
        return np.broadcast_to(mask, (self.num_heads, *mask.shape[-2:]))
