"""Gradient rollout: attention weighted by how the score would change with it."""

from dataclasses import replace

import torch
from torch import nn

from medseg.explain.flow import attend, by_number
from medseg.explain.options import Options
from medseg.explain.targets import Target


def gradient_rollout(
    network: nn.Module, image: torch.Tensor, target: Target, options: Options
) -> torch.Tensor:
    """Rollout of attention times its gradient, the mean over heads where positive; (B, *grid).

    Source:
        jacobgil/vit-explain, with rows that sum to 1 and each gradient beside its own layer.
    """
    attended = attend(network, image, target, options, gradients=True)
    products = by_number(torch.mul, attended.weights, attended.gradients)
    first, gains = attended.has_first_token, []
    for gain in attended.joined(products):
        positive = replace(gain, positive=True)
        gains.append(positive.without_lowest(options.discard, keep_first=first))
    return attended.rolled(gains, options.layer, halved=True)
