"""Raw attention: where the target's tokens look in one layer."""

from dataclasses import replace

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.flow import attend
from medseg.explain.options import Options
from medseg.explain.targets import Target


def raw(network: nn.Module, image: torch.Tensor, target: Target, options: Options) -> torch.Tensor:
    """Attention of one layer and head, or of all heads joined; ``options.layer``, ``head``.

    The row of the class token for a classifier, the mean row of the region's tokens for a
    segmentation network; shape (B, *grid).

    Raises:
        UsageError: If there is no such layer or head.
    """
    attended = attend(network, image, target, options)
    layer = attended.layer(options.layer, len(attended.layers) - 1)
    gain = attended.joined(attended.weights)[layer]
    heads = gain.layer.heads or gain.parts[0].shape[1]
    if options.head is not None and not 0 <= options.head < heads:
        raise UsageError(f"head must be 0 to {heads - 1} in this layer, got {options.head}")
    return attended.looked_at(replace(gain, heads=options.heads, head=options.head), layer)
