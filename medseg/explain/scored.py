"""A network with its target as one function, as captum wants it."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.targets import Target

Score = Callable[..., torch.Tensor]
AT_ONCE, VOXELS = 8, 2**20  # images per pass, and pixels of them


def scored(network: nn.Module, target: Target) -> Score:
    """A function of image and region that gives the target's score, shape (B,).

    Captum repeats both alike when it makes one image many.
    """

    def score(image: torch.Tensor, region: torch.Tensor | None = None) -> torch.Tensor:
        return replace(target, region=region).score(network(image))

    return score


def at_once(image: torch.Tensor) -> int:
    """How many changed images, (B, C, *spatial), are looked at in one pass."""
    return max(1, min(AT_ONCE, VOXELS // math.prod(image.shape[2:])))


def captum() -> ModuleType:
    """``captum.attr``, imported when it is needed.

    Raises:
        UsageError: If captum is not installed.
    """
    try:
        import captum.attr
    except ImportError as error:
        raise UsageError(
            "integrated_gradients and occlusion need captum: pip install 'medseg[explain]'"
        ) from error
    found: ModuleType = captum.attr
    return found
