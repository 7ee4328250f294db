"""Mean of the probabilities of several networks, or of one network on flipped slices.

A slice is (X, Y) of a volume in RAS orientation: axis -2 goes from left to right, axis -1 from
back to front. A mirrored body has its liver on the other side; what the network finds there is
mirrored back, but organs keep their names, and a network that tells the left kidney from the right
one by its side takes one for the other. Flips from left to right are for networks that were trained
with them, or whose organs have no side.
"""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.errors import UsageError

TTA = {
    "none": ((),),
    "left_right": ((), (-2,)),
    "front_back": ((), (-1,)),
    "flips": ((), (-2,), (-1,), (-2, -1)),
}
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
        networks: Each gives logits (B, C, H, W).
        images: Shape (B, channels, H, W).
        tta: A key of ``TTA``: which flips the slices are also seen under, and turned back.
        activation: ``"softmax"`` for classes that exclude each other, ``"sigmoid"`` for classes
            that were each trained as a mask of its own. One channel always takes the sigmoid.

    Returns:
        float32, shape (B, C, H, W). Of one channel: that of background, then that of the class.
    """
    total: torch.Tensor | None = None
    for network in networks:
        for dims in TTA[tta]:
            logits = network(torch.flip(images, dims) if dims else images)
            found = activated(logits.float(), activation)
            found = torch.flip(found, dims) if dims else found
            total = found if total is None else total.add_(found)
    if total is None:
        raise ValueError("probabilities_of: expected at least one network, got none")
    return total.div_(len(networks) * len(TTA[tta]))


def activated(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """Probabilities of logits (B, C, ...); one channel becomes two, background first."""
    if logits.shape[1] == 1:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)


class Averaged(nn.Module):
    """A network that answers with the mean probabilities of several, or of flips.

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
        """Probabilities, float32, of images of shape (B, C, H, W)."""
        return probabilities_of(
            list(self.networks), images, tta=self.tta, activation=self.activation
        )


def check_averaging(tta: str, activation: str) -> None:
    """Refuse what is unknown.

    Raises:
        UsageError: If so.
    """
    if tta not in TTA:
        raise UsageError(f"tta {tta!r}: expected one of {', '.join(TTA)}")
    if activation not in ACTIVATIONS:
        raise UsageError(f"activation {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
