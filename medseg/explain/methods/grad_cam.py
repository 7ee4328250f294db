"""Grad-CAM, and for segmentation Seg-Grad-CAM: features weighted by the score's gradient."""

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.features import best_module, keeping, layout_of, on_grid
from medseg.explain.flow import gradients_of
from medseg.explain.options import Options
from medseg.explain.targets import Target


def grad_cam(
    network: nn.Module, image: torch.Tensor, target: Target, options: Options
) -> torch.Tensor:
    """Sum of a module's features, each weighted by its mean gradient, where positive; (B, *grid).

    By default the features are the last ones at the coarsest resolution; where these come before
    a transformer and nothing as coarse after it, the tokens that its last attention reads.

    Source:
        Selvaraju et al., arXiv:1610.02391; for a region of a segmentation Vinogradova et al.,
        arXiv:2002.11434. Equal to MONAI's ``GradCAM``, which however leaves hooks in the network
        and overwrites its gradients.
    """
    layout = layout_of(network, image)
    name = options.module or best_module(network, layout)
    with keeping(network, name) as kept, torch.enable_grad():
        total = target.score(network(image)).sum()
    if not kept:
        raise UsageError(f"module {name!r} gives no features of places in the image")
    gradient = gradients_of(total, kept[-1:])[0]
    features, slopes = (on_grid(one, layout, image.ndim - 2) for one in (kept[-1], gradient))
    weights = slopes.flatten(2).mean(dim=2)
    joined: torch.Tensor = torch.einsum("bc,bc...->b...", weights, features.detach())
    return joined.clamp(min=0)
