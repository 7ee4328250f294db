"""What an untrained network should believe."""

import torch
from torch import nn

PRIOR_LOGIT = 3.0


def expect_background(bias: torch.Tensor | None, logit: float = PRIOR_LOGIT) -> None:
    """Start the last bias from the guess that a pixel is background, at 3 with about 0.95.

    From zero, where every organ has even odds, BCE first drives all of them to nothing, and small
    organs take long to come back.

    Args:
        bias: One number per class, background first; or one for a binary mask. ``None``: nothing
            is done.
        logit: Of the background; the others get its negative.

    Source:
        The prior of RetinaNet, Lin et al., arXiv:1708.02002, section 3.3.
    """
    if bias is None:
        return
    nn.init.constant_(bias, -logit)
    if len(bias) > 1:
        nn.init.constant_(bias[:1], logit)
