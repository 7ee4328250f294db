"""Mean of the probabilities of several networks, or of one network on flipped slices or patches.

A slice is (X, Y) of a volume in RAS orientation, a patch (X, Y, Z): the first axis runs from left
to right, the next from back to front; head and feet are never exchanged. A mirrored body has its
liver on the other side; what the network finds there is mirrored back, but organs keep their names,
and a network that tells the left kidney from the right one by its side takes one for the other.
Flips from left to right are for networks that were trained with them, or whose organs have no side.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from medseg.errors import UsageError

TTA = {  # axes of (B, C, X, Y) or (B, C, X, Y, Z)
    "none": ((),),
    "left_right": ((), (2,)),
    "front_back": ((), (3,)),
    "flips": ((), (2,), (3,), (2, 3)),
}
LEAST = torch.finfo(torch.float32).tiny  # whose logarithm is finite
Function = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS = ("softmax", "sigmoid")


def probabilities_of(
    networks: Sequence[nn.Module],
    images: torch.Tensor,
    *,
    tta: str = "none",
    activation: str = "softmax",
) -> torch.Tensor:
    """Mean probability of every class over all networks and flips.

    Args:
        networks: Each gives logits (B, C, X, Y) or (B, C, X, Y, Z).
        images: Shape (B, channels, X, Y) or (B, channels, X, Y, Z).
        tta: A key of ``TTA``: which flips the images are also seen under, and turned back.
        activation: ``"softmax"`` for classes that exclude each other, ``"sigmoid"`` for classes
            that were each trained as a mask of its own. One channel always takes the sigmoid.

    Returns:
        float32, of the logits' shape. Of one channel: that of background, then that of the class.
    """
    return _mean_of(networks, images, tta, lambda logits: activated(logits, activation))


def activated(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """Probabilities of logits (B, C, ...); one channel becomes two, background first."""
    if logits.shape[1] == 1:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)


def _mean_of(
    networks: Sequence[nn.Module], images: torch.Tensor, tta: str, function: Function
) -> torch.Tensor:
    """Mean over all networks and flips of a function of the logits."""
    total: torch.Tensor | None = None
    for network in networks:
        for dims in TTA[tta]:
            logits = network(torch.flip(images, dims) if dims else images)
            found = function(logits.float())
            found = torch.flip(found, dims) if dims else found
            total = found if total is None else total.add_(found)
    if total is None:
        raise ValueError("expected at least one network, got none")
    return total.div_(len(networks) * len(TTA[tta]))


class Averaged(nn.Module):
    """A network whose logits are those of the mean probabilities of several, or of flips.

    It has as many channels as each of the networks. Of networks that agree the logits are theirs,
    but for what is the same in all classes: going to the native grid, where logits are resampled,
    one model is an ensemble of one.

    Args:
        networks: On one device.
        tta: As in :func:`probabilities_of`.
        activation: As in :func:`probabilities_of`.
    """

    def __init__(self, networks: Sequence[nn.Module], tta: str, activation: str) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.tta = tta
        self.activation = activation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, ...), float32, of images of shape (B, channels, ...)."""
        masks = False

        def function(logits: torch.Tensor) -> torch.Tensor:
            nonlocal masks
            masks = self.activation == "sigmoid" or logits.shape[1] == 1
            if masks:  # both, since 1 - p has no digits left where p is almost 1
                return torch.cat([logits.sigmoid(), (-logits).sigmoid()], dim=1)
            return logits.softmax(dim=1)

        mean = _mean_of(list(self.networks), images, self.tta, function)
        logs = mean.clamp_min_(LEAST).log_()
        if not masks:
            return logs
        inside, outside = logs.chunk(2, dim=1)
        return inside - outside


def check_averaging(tta: str, activation: str) -> None:
    """Refuse what is unknown.

    Raises:
        UsageError: If so.
    """
    if tta not in TTA:
        raise UsageError(f"tta {tta!r}: expected one of {', '.join(TTA)}")
    if activation not in ACTIVATIONS:
        raise UsageError(f"activation {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
