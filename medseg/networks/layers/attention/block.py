"""The transformer block over a grid of tokens."""

import torch
from torch import nn

from medseg.networks.layers.grid import Grid
from medseg.networks.layers.transformer import EPS, Mlp


class GridBlock(nn.Module):
    """Attention, then MLP, each on normalised tokens and added to what came in.

    Initialised, and its parameters named, as :class:`medseg.networks.layers.transformer.Block`.

    Args:
        attention: Module from tokens (B, N, C) and their grid to tokens, as
            :func:`medseg.networks.layers.attention.make_attention` makes them.
        channels: Width C of a token.
        mlp_dim: Width inside the MLP.
        dropout: Share of numbers dropped in the MLP in training.
        norm_eps: Added to the variance by both layer norms.
    """

    def __init__(
        self,
        attention: nn.Module,
        channels: int,
        *,
        mlp_dim: int,
        dropout: float = 0.0,
        norm_eps: float = EPS,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=norm_eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(channels, eps=norm_eps)
        self.mlp = Mlp(channels, mlp_dim, dropout=dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Pass tokens through; shape (B, N, C) in and out, N the product of the grid."""
        tokens = tokens + self.attn(self.norm1(tokens), grid)
        out: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return out
