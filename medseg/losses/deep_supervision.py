"""A loss at every size that a decoder passes."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from medseg.errors import UsageError

Logits = torch.Tensor | Sequence[torch.Tensor]


class DeepSupervision(nn.Module):
    """Weighted mean of a loss over logits of several sizes.

    Args:
        loss: ``loss(logits, label)`` for one size.
        weights: Of each size, full size first, as many as the network gives at most; ``None``
            halves them from size to size. They are divided by their sum.

    Raises:
        UsageError: If a weight is negative or the first is 0.

    Source:
        Lee et al., Deeply-Supervised Nets, arXiv:1409.5185; halved as in nnU-Net.
    """

    def __init__(
        self,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if weights is not None and (not weights or min(weights) < 0 or weights[0] == 0):
            raise UsageError(f"weights must be 0 or more, the first above 0, got {weights}")
        self.loss = loss
        self.weights = weights

    def forward(self, logits: Logits, label: torch.Tensor) -> torch.Tensor:
        """Compare.

        Args:
            logits: Of several sizes, full size first, each (B, C, *spatial); or full size alone,
                as networks give in ``eval()``.
            label: Class indices at full size, (B, *spatial); the nearest are taken for the others.

        Raises:
            ValueError: If there are more sizes than weights.
        """
        if isinstance(logits, torch.Tensor):
            return self.loss(logits, label)
        weights = self.weights or [0.5**index for index in range(len(logits))]
        if len(logits) > len(weights):
            raise ValueError(f"expected at most {len(weights)} sizes of logits, got {len(logits)}")
        used = list(weights[: len(logits)])
        total = sum(
            (
                weight * self.loss(scores, _resized(label, scores.shape[2:]))
                for weight, scores in zip(used, logits, strict=True)
                if weight
            ),
            start=torch.zeros((), device=label.device),
        )
        return total / sum(used)


def _resized(label: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    if tuple(label.shape[1:]) == tuple(size):
        return label
    # float64 holds every class index exactly
    small = F.interpolate(label[:, None].double(), tuple(size), mode="nearest-exact")
    return small[:, 0].to(label.dtype)
