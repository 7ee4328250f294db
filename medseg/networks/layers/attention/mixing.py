"""The innermost step that all kinds of attention share: values weighed by a softmax."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixing(nn.Module):
    """Give every query the mean of the values, weighed by how well their keys fit.

    Args:
        dropout: Share of attention weights dropped, in training only.

    Attributes:
        fused: Whether to do it in one fused step, which never holds the weights. Set it to
            ``False`` to have ``attend`` called.
        attend: Softmax whose output is the attention weights, shape (..., queries, keys).
            Explainers read them through a forward hook here.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.fused = True
        self.attend = nn.Softmax(dim=-1)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        bias: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mix; queries (G, H, Q, D), keys and values (G, H, K, D) to (G, H, Q, D).

        Args:
            q: Queries; they are scaled here.
            k: Keys.
            v: Values.
            bias: Added to the scaled products, of a shape that broadcasts to (G, H, Q, K).
            mask: True where a query may see a key, of such a shape too. No query may be left
                without any key.
        """
        if bias is not None:
            bias = bias.to(q.dtype)
            if mask is not None:
                bias = bias.masked_fill(~mask, -torch.inf)
        if self.fused:
            share = self.drop.p if self.training else 0.0
            seen = mask if bias is None else bias
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=share)
        products = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
        if bias is not None:
            products = products + bias
        elif mask is not None:
            products = products.masked_fill(~mask, -torch.inf)
        mixed: torch.Tensor = self.drop(self.attend(products)) @ v
        return mixed
