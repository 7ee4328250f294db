"""A network with its target as one function, as captum wants it."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.targets import Target

Score = Callable[..., torch.Tensor]


def scored(network: nn.Module, target: Target) -> Score:
    """A function of image and region that gives the target's score, shape (B,).

    Captum repeats both alike when it makes one image many.
    """

    def score(image: torch.Tensor, region: torch.Tensor | None = None) -> torch.Tensor:
        return replace(target, region=region).score(network(image))

    return score


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
