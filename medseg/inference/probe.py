"""How much of a sample the path through a network may be chosen on, where memory is bounded."""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.inference.memory import ASIDE, MARGIN, PeakBytes, resident_bytes


def sample_within(
    most_gb: float | None, sample: torch.Tensor, networks: Sequence[nn.Module]
) -> torch.Tensor:
    """The sample, or so many of its inputs that trying them should stay below so many GB.

    One input is always tried: without it nothing is known of the network, and who cannot afford
    it cannot predict either.

    Args:
        most_gb: Of memory for the whole process, in 10^9 bytes; ``None`` bounds nothing.
        sample: What the networks are fed, shape (B, C, ...).
        networks: Each is copied, and one copy more is in memory while it is tried.
    """
    if most_gb is None:
        return sample
    weights = [sum(one.nbytes for one in network.parameters()) for network in networks]
    with torch.inference_mode(), PeakBytes() as peak:
        networks[0](sample[:1])
    left = most_gb * 1e9 - resident_bytes() - ASIDE - MARGIN * (sum(weights) + max(weights))
    return sample[: max(1, int(left // (MARGIN * max(peak.most, 1))))]
