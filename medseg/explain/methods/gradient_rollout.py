"""Gradient rollout: attention weighted by how the score would change with it."""

import torch
from torch import nn

from medseg.explain.flow import attend
from medseg.explain.options import Options
from medseg.explain.rolling import discard_lowest, with_residual
from medseg.explain.targets import Target


def gradient_rollout(
    network: nn.Module, image: torch.Tensor, target: Target, options: Options
) -> torch.Tensor:
    """Rollout of attention times its gradient, the mean over heads where positive; (B, *grid).

    Source:
        jacobgil/vit-explain, with rows that sum to 1 and each gradient beside its own layer.
    """
    attended = attend(network, image, target, options, gradients=True)
    pairs = zip(attended.weights, attended.gradients, strict=True)
    joined = [(weights * gradient).mean(dim=1).clamp(min=0) for weights, gradient in pairs]
    first = attended.has_first_token
    left = [discard_lowest(matrix, options.discard, keep_first=first) for matrix in joined]
    gains, kept = zip(*map(with_residual, left), strict=True)
    return attended.rolled(gains, kept, options.layer)
