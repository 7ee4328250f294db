"""Occlusion, by captum: how the score falls when a patch of the image is covered."""

import torch
from torch import nn

from medseg.explain.options import Options
from medseg.explain.scored import at_once, captum, scored
from medseg.explain.targets import Target

SHARE = {1: 7, 2: 7, 3: 4}  # of the image's side that a patch covers, by the number of axes


def occlusion(
    network: nn.Module, image: torch.Tensor, target: Target, options: Options
) -> torch.Tensor:
    """Mean fall of the score over all patches that cover a pixel, negative where it rises.

    A patch has sides of ``options.window`` pixels, a seventh of the image by default and a
    quarter of a volume, overlaps its neighbours by half, and covers all channels; shape
    (B, *spatial).

    Source:
        Zeiler and Fergus, arXiv:1311.2901; captum.
    """
    axes, channels = image.ndim - 2, image.shape[1]
    side = [min(options.window or -(-size // SHARE[axes]), size) for size in image.shape[2:]]
    step = [max(1, one // 2) for one in side]
    with torch.no_grad():
        found: torch.Tensor = captum().Occlusion(scored(network, target)).attribute(
            image, sliding_window_shapes=(channels, *side), strides=(channels, *step),
            baselines=options.baseline, additional_forward_args=target.region,
            perturbations_per_eval=max(1, at_once(image) // len(image)),
        )  # fmt: skip
    return found.mean(dim=1).reshape(len(image), *image.shape[-axes:]).to(image.dtype)
