"""Integrated gradients, by captum."""

import torch
from torch import nn

from medseg.explain.options import Options
from medseg.explain.scored import at_once, captum, scored
from medseg.explain.targets import Target


def integrated_gradients(
    network: nn.Module, image: torch.Tensor, target: Target, options: Options
) -> torch.Tensor:
    """Gradient of the score along the way from a baseline to the image; (B, *spatial).

    The size of what all channels give together: what matters, be it for the target or against.

    Source:
        Sundararajan et al., arXiv:1703.01365; captum.
    """
    explainer = captum().IntegratedGradients(scored(network, target))
    found: torch.Tensor = explainer.attribute(
        image, baselines=options.baseline, n_steps=options.steps,
        additional_forward_args=target.region, internal_batch_size=max(len(image), at_once(image)),
    )  # fmt: skip
    return found.detach().sum(dim=1).abs().to(image.dtype)
