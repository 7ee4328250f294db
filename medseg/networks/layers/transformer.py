"""The transformer block of Vision Transformers; parameters are named as in timm."""

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6  # of every layer norm


class Attention(nn.Module):
    """Dense multi-head self-attention.

    Args:
        channels: Width C of a token; a multiple of ``num_heads``.
        num_heads: Attention heads M; each has width C / M.

    Attributes:
        fused: Whether to attend in one fused step, which never holds the weights. Set it to
            ``False`` to have ``attend`` called.
        attend: Softmax whose output is the attention weights, shape (B, M, N, N). Explainers
            read them through a forward hook here; no network code knows it.

    Source:
        Dosovitskiy et al., Vision Transformer, arXiv:2010.11929.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"channels ({channels}) must be a multiple of num_heads ({num_heads})")
        self.num_heads = num_heads
        self.scale = (channels // num_heads) ** -0.5
        self.fused = True
        self.qkv = nn.Linear(channels, 3 * channels)
        self.attend = nn.Softmax(dim=-1)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Let every token attend to all; shape (B, N, C) in and out."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, M, C/M)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, M, N, C/M)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = self.attend(q @ k.transpose(-2, -1) * self.scale) @ v
        out: torch.Tensor = self.proj(mixed.transpose(1, 2).flatten(2))  # (B, N, C)
        return out


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between, applied to each token alone.

    Args:
        channels: Width of a token.
        hidden: Width between the layers.
        dropout: Share of numbers dropped after each layer in training.
    """

    def __init__(self, channels: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Transform each token; shape (..., C) in and out."""
        out: torch.Tensor = self.drop(self.fc2(self.drop(self.act(self.fc1(tokens)))))
        return out


class Block(nn.Module):
    """Attention, then MLP, each on normalised tokens and added to what came in.

    Args:
        channels: Width C of a token.
        num_heads: Attention heads.
        mlp_dim: Width inside the MLP.
        dropout: Share of numbers dropped in the MLP in training; attention drops none.
    """

    def __init__(
        self, channels: int, num_heads: int, *, mlp_dim: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attn = Attention(channels, num_heads)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = Mlp(channels, mlp_dim, dropout=dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pass tokens through; shape (B, N, C) in and out."""
        tokens = tokens + self.attn(self.norm1(tokens))
        out: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return out
