"""Attention times gradient: as TIBA, with attention itself in place of its relevance."""

import torch
from torch import nn

from medseg.explain.flow import attend
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
    pairs = zip(attended.weights, attended.gradients, strict=True)
    gains = [(weights * gradient).clamp(min=0).mean(dim=1) for weights, gradient in pairs]
    kept = [torch.ones_like(gain[:, 0]) for gain in gains]
    return attended.rolled(gains, kept, options.layer)
