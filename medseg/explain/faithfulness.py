"""Whether a map is right about its network, measured instead of admired."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import nn

from medseg.explain.reading import at_rest
from medseg.explain.scored import at_once
from medseg.explain.targets import Target, weight_of


@dataclass(frozen=True)
class Curves:
    """How sure a network is of a target while an image is covered or uncovered.

    Attributes:
        shares: Of the pixels covered, or uncovered, from 0 to 1.
        deletion: Confidence when the most important pixels are covered first: falls early if the
            map is right.
        insertion: Confidence when they are uncovered first: rises early.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Areas under both curves, deletion first, each within 0 and 1."""
        deletion, insertion = (
            float(trapezoid(curve, self.shares)) for curve in (self.deletion, self.insertion)
        )
        return deletion, insertion


def curves_of(
    network: nn.Module,
    image: torch.Tensor,
    target: Target,
    importance: torch.Tensor,
    *,
    steps: int = 10,
    baseline: float = 0.0,
    seed: int = 0,
) -> Curves:
    """Deletion and insertion curves of one map.

    Args:
        network: It is left as it was.
        image: One image, (1, C, *spatial).
        target: Its region is settled.
        importance: The map, (1, *spatial); ties are broken at random.
        steps: Between nothing and all.
        baseline: What covered pixels become.
        seed: For ties.

    Source:
        Petsiuk et al., RISE, arXiv:1806.07421; confidence is the mean probability of the class
        over the target's region.
    """
    shares = np.linspace(0, 1, steps + 1)
    order = _order(importance, seed)
    masks = torch.zeros((steps + 1, order.numel()), dtype=torch.bool, device=image.device)
    for row, share in zip(masks, shares, strict=True):
        row[order[: round(share * order.numel())]] = True
    masks = masks.view(steps + 1, 1, *image.shape[2:])
    empty = torch.full_like(image, baseline)
    deleted, inserted = torch.where(masks, empty, image), torch.where(masks, image, empty)
    with at_rest(network), torch.no_grad():
        deletion, insertion = (_sure(network, one, target) for one in (deleted, inserted))
    return Curves(shares, deletion, insertion)


def points_at(importance: torch.Tensor, label: torch.Tensor) -> bool:
    """Pointing game: whether the largest number of a map lies within a mask of the same shape.

    Source:
        Zhang et al., arXiv:1608.00507.
    """
    return bool(label.flatten()[importance.flatten().argmax()])


def share_within(importance: torch.Tensor, label: torch.Tensor) -> float:
    """Share of a map, where positive, that lies within a mask; ``nan`` for an empty map."""
    positive = importance.clamp(min=0)
    total = float(positive.sum())
    return float(positive[label].sum()) / total if total else float("nan")


def agreement(one: torch.Tensor, other: torch.Tensor) -> float:
    """Spearman's rank correlation of two maps, -1 to 1; ``nan`` if one is flat."""
    ranks = [torch.from_numpy(_ranks(x.flatten().cpu().numpy())) for x in (one, other)]
    if any(float(rank.std()) == 0 for rank in ranks):
        return float("nan")
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def randomised(network: nn.Module, *, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network with more and more of its parts randomised, from the output on.

    The numbers of each weight are shuffled, so that their distribution stays. A map that hardly
    changes explains the image and not the network.

    Yields:
        The part that was randomised last, and the network; the last one has nothing left.

    Source:
        Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292.
    """
    changed = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    for name, part in reversed(list(changed.named_children())):
        with torch.no_grad():
            for weight in part.parameters():
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
        yield name, changed


def _order(importance: torch.Tensor, seed: int) -> torch.Tensor:
    flat = importance.flatten()
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(flat.numel(), generator=generator).to(flat.device)
    return shuffled[flat[shuffled].argsort(descending=True, stable=True)]


def _sure(network: nn.Module, images: torch.Tensor, target: Target) -> np.ndarray:
    step = at_once(images)
    starts = range(0, len(images), step)
    found = [_confidence(network(images[k : k + step]), target) for k in starts]
    return torch.cat(found).double().cpu().numpy()


def _confidence(logits: torch.Tensor, target: Target) -> torch.Tensor:
    """Mean probability of the class over the region, or of the class rather than the other."""
    scores = logits[:, target.channel]
    if target.against is not None:
        probability = (scores - logits[:, target.against]).sigmoid()
    else:
        one = logits.shape[1] == 1
        probability = scores.sigmoid() if one else logits.softmax(dim=1)[:, target.channel]
    if target.region is None:
        return probability
    region = target.region.to(probability)
    return (probability * region).flatten(1).sum(1) / weight_of(region)


def _ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks from 0, equal numbers sharing their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[places], dtype=np.float64)
