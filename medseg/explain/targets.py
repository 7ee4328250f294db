"""What is explained: a number computed from the logits, and where in the image it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from medseg.errors import UsageError


@dataclass(frozen=True)
class Target:
    """The mean logit of a class over a region, less that of another class if one is named.

    Attributes:
        channel: Class, as a channel of the logits.
        against: Another class, for what speaks for one rather than the other.
        region: Where in the image, bool, shape (B, *spatial), or (1, *spatial) for all of a batch:
            one voxel, an organ, anything; float if places count more or less. ``None``: where the
            network finds the class. A classifier has no region.
    """

    channel: int
    against: int | None = None
    region: torch.Tensor | None = None

    def fixed(self, logits: torch.Tensor) -> "Target":
        """The same target with its region settled, so that it stays while the image changes.

        Args:
            logits: Of the image to be explained, shape (B, C) or (B, C, *spatial).

        Raises:
            UsageError: If channel or region do not fit the logits.
        """
        for channel in (self.channel, self.against):
            if channel is not None and not 0 <= channel < logits.shape[1]:
                raise UsageError(
                    f"the class must be 0 to {logits.shape[1] - 1} in this network, got {channel}"
                )
        if logits.ndim == 2:
            return replace(self, region=None)
        if self.region is None:
            return replace(self, region=_found(logits, self.channel))
        if self.region.shape[1:] != logits.shape[2:] or len(self.region) not in (1, len(logits)):
            raise UsageError(
                f"the region must have the shape of the network's output {tuple(logits.shape[2:])},"
                f" got {tuple(self.region.shape[1:])}"
            )
        region = self.region.to(logits.device).expand(len(logits), *logits.shape[2:])
        return replace(self, region=region)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """The number that is explained, one for each image of the batch; 0 for an empty region."""
        scores = logits[:, self.channel]
        if self.against is not None:
            scores = scores - logits[:, self.against]
        if self.region is None:
            return scores
        return (scores * self.region).flatten(1).sum(1) / weight_of(self.region)

    def start(self, logits: torch.Tensor) -> torch.Tensor:
        """How much each logit counts in the score: what relevance starts from."""
        logits = logits.detach().requires_grad_()
        return torch.autograd.grad(self.score(logits).sum(), logits)[0]


def weight_of(region: torch.Tensor) -> torch.Tensor:
    """What the places of each region count in all, shape (B,); 1 where nothing does."""
    total = region.flatten(1).sum(1)
    return torch.where(total > 0, total, torch.ones_like(total))


def channel_of(organ: str, labels: Mapping[str, int], channels: int) -> int:
    """The channel of an organ's logits: after background, in the order of the labels.

    Args:
        organ: Its name, or ``"background"``.
        labels: Organ → value, as a model's card has them.
        channels: Of the logits; a network of one gives a single organ.

    Raises:
        UsageError: If the model has no such organ.
    """
    background = {"background": 0} if channels > 1 else {}
    first = 1 if channels > 1 else 0
    places = background | {name: first + index for index, name in enumerate(labels)}
    if organ not in places:
        raise UsageError(f"organ must be one of {', '.join(places)}, got {organ!r}")
    return places[organ]


def _found(logits: torch.Tensor, channel: int) -> torch.Tensor:
    if logits.shape[1] == 1:
        return logits[:, 0] > 0
    return logits.argmax(dim=1) == channel
