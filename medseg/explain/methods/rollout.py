"""Attention rollout: attention of all layers multiplied, what passes by it included."""

import torch
from torch import nn

from medseg.explain.flow import attend
from medseg.explain.options import Options
from medseg.explain.rolling import discard_lowest, fuse_heads, with_residual
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
    fused = [fuse_heads(weights, options.heads) for weights in attended.weights]
    first = attended.has_first_token
    left = [discard_lowest(matrix, options.discard, keep_first=first) for matrix in fused]
    gains, kept = zip(*map(with_residual, left), strict=True)
    return attended.rolled(gains, kept, options.layer)
