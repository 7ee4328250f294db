"""Raw attention: where the target's tokens look in one layer."""

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.flow import attend
from medseg.explain.options import Options
from medseg.explain.rolling import fuse_heads
from medseg.explain.targets import Target


def raw(network: nn.Module, image: torch.Tensor, target: Target, options: Options) -> torch.Tensor:
    """Attention of one layer and head, or of all heads joined; ``options.layer``, ``head``.

    The row of the class token for a classifier, the mean row of the region's tokens for a
    segmentation network; shape (B, *grid).

    Raises:
        UsageError: If there is no such layer or head.
    """
    attended = attend(network, image, target, options)
    layer = attended.layer(options.layer, len(attended.weights) - 1)
    weights = attended.weights[layer]
    if options.head is not None:
        if not 0 <= options.head < weights.shape[1]:
            last = weights.shape[1] - 1
            raise UsageError(f"head must be 0 to {last} in this layer, got {options.head}")
        weights = weights[:, options.head, None]
    one = [torch.zeros_like(other[:, 0]) for other in attended.weights]
    one[layer] = fuse_heads(weights, options.heads)
    whole = attended.placed(one)[layer]
    return attended.on_grid((attended.rows[:, None] @ whole)[:, 0])
