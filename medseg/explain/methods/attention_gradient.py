"""Attention times gradient: as TIBA, with attention itself in place of its relevance."""

import torch
from torch import nn

from medseg.explain.flow import attend, by_number
from medseg.explain.options import Options
from medseg.explain.targets import Target


def attention_gradient(
    network: nn.Module, image: torch.Tensor, target: Target, options: Options
) -> torch.Tensor:
    """Product over layers of I + mean over heads of (gradient · attention) where positive.

    What a token keeps of itself past all attention is left out; shape (B, *grid).

    Source:
        Chefer, Gur, Wolf: Generic Attention-model Explainability, arXiv:2103.15679.
    """
    attended = attend(network, image, target, options, gradients=True)
    products = by_number(positive_product, attended.gradients, attended.weights)
    return attended.rolled(attended.joined(products), options.layer)


def positive_product(gradient: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Gradient times attention, or its relevance, where positive."""
    return (gradient * weights).clamp(min=0)
