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
            ``False`` to have ``attend`` called. While a bias is learned on a CPU, it is called
            in any case: PyTorch has no fused step there that gives the bias its gradient.
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
            q: Queries, to be scaled by the root of D.
            k: Keys.
            v: Values.
            bias: Added to the scaled products, of a shape that broadcasts to (G, H, Q, K).
            mask: True where a query may see a key, of such a shape too. No query may be left
                without any key.
        """
        hidden = None if mask is None else _minus_infinity(~mask, q.dtype)
        bias = None if bias is None else bias.to(q.dtype)
        learned = bias is not None and bias.requires_grad and torch.is_grad_enabled()
        if self.fused and not (learned and q.device.type == "cpu"):
            share = self.drop.p if self.training else 0.0
            added = bias if hidden is None or bias is None else bias + hidden
            added = hidden if bias is None else added
            return F.scaled_dot_product_attention(q, k, v, attn_mask=added, dropout_p=share)
        products = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
        for added in (bias, hidden):
            if added is not None:
                products += added
        mixed: torch.Tensor = self.drop(self.attend(products)) @ v
        return mixed


def _minus_infinity(where: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Minus infinity where it is true and 0 elsewhere: to add it needs no step backward."""
    return torch.zeros_like(where, dtype=dtype).masked_fill_(where, -torch.inf)
