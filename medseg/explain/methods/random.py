"""No explanation at all: the control that every method has to beat."""

import torch
from torch import nn

from medseg.explain.options import Options
from medseg.explain.targets import Target

CELL = 16  # pixels, about as coarse as the other maps


def random(
    _network: nn.Module, image: torch.Tensor, _target: Target, options: Options
) -> torch.Tensor:
    """Random numbers of ``options.seed``, as coarse as a map of tokens; shape (B, *grid)."""
    generator = torch.Generator().manual_seed(options.seed)
    grid = [max(2, size // CELL) for size in image.shape[2:]]
    return torch.rand((1, *grid), generator=generator).expand(len(image), *grid).to(image)
