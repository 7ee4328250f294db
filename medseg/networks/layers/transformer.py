"""The transformer block of Vision Transformers; parameters are named as in timm."""

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6  # of every layer norm, unless told otherwise


class Attention(nn.Module):
    """Dense multi-head self-attention.

    Args:
        channels: Width C of a token; a multiple of ``num_heads``.
        num_heads: Attention heads M; each has width C / M.
        dropout: Share of attention weights dropped, in training only.

    Attributes:
        fused: Whether to attend in one fused step, which never holds the weights. Set it to
            ``False`` to have ``attend`` called.
        attend: Softmax whose output is the attention weights, shape (B, M, N, N). Explainers
            read them through a forward hook here; no network code knows it.

    Source:
        Dosovitskiy et al., Vision Transformer, arXiv:2010.11929.
    """

    def __init__(self, channels: int, num_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"channels ({channels}) must be a multiple of num_heads ({num_heads})")
        self.num_heads = num_heads
        self.scale = (channels // num_heads) ** -0.5
        self.fused = True
        self.qkv = nn.Linear(channels, 3 * channels)
        self.attend = nn.Softmax(dim=-1)
        self.drop = nn.Dropout(dropout)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Let every token attend to all.

        Args:
            tokens: Shape (B, N, C).
            bias: Added to the scaled products before the softmax, shape (1, M, N, N).

        Returns:
            Shape (B, N, C).
        """
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, M, C/M)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, M, N, C/M)
        if self.fused:
            share = self.drop.p if self.training else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=share)
        else:
            products = q @ k.transpose(-2, -1) * self.scale
            mixed = self.drop(self.attend(products if bias is None else products + bias)) @ v
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
        dropout: Share of numbers dropped in the MLP in training.
        attention_dropout: Share of attention weights dropped in training.
        norm_eps: Added to the variance by both layer norms.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        norm_eps: float = EPS,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=norm_eps)
        self.attn = Attention(channels, num_heads, dropout=attention_dropout)
        self.norm2 = nn.LayerNorm(channels, eps=norm_eps)
        self.mlp = Mlp(channels, mlp_dim, dropout=dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Pass tokens through; shape (B, N, C) in and out, ``bias`` as in :class:`Attention`."""
        tokens = tokens + self.attn(self.norm1(tokens), bias)
        out: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return out
