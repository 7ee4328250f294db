"""Attention rollout: attention of all layers multiplied, what passes by it included."""

from dataclasses import replace

import torch
from torch import nn

from medseg.explain.flow import attend
from medseg.explain.options import Options
from medseg.explain.targets import Target


def rollout(
    network: nn.Module, image: torch.Tensor, target: Target, options: Options
) -> torch.Tensor:
    """Rollout from ``options.layer`` on, heads joined as ``options.heads`` says; (B, *grid).

    It knows nothing of classes: of an organ, only where its tokens are.

    Source:
        Abnar and Zuidema, arXiv:2005.00928; maximum, minimum and ``options.discard`` as in
        jacobgil/vit-explain, with rows that sum to 1.
    """
    attended = attend(network, image, target, options)
    first, gains = attended.has_first_token, []
    for gain in attended.joined(attended.weights):
        fused = replace(gain, heads=options.heads)
        gains.append(fused.without_lowest(options.discard, keep_first=first))
    return attended.rolled(gains, options.layer, halved=True)
