"""Raw attention of every layer and head for a target, small enough to stand in a page."""

import math
from dataclasses import replace

import numpy as np
import torch

from medseg.explain import Options, Target
from medseg.explain.flow import attend
from medseg.explain.places import Places, places_of_tokens
from medseg.explain.reading import at_rest, attention_layers
from medseg.explaining.maps import Question
from medseg.explaining.request import Request
from medseg.explaining.scan import Scan
from medseg.model import LoadedModel
from medseg.report.overlays import Heads


def heads_of(
    question: Question, *, model: LoadedModel, scan: Scan, request: Request, batch_size: int
) -> Heads:
    """Read where the target's tokens look, in every layer and head of every slice explained.

    Raises:
        UsageError: If the network has no attention.
        ResourceError: If attention would take more memory than the options allow.
    """
    network, indices = model.network, sorted(question.regions)
    weights: dict[int, list[np.ndarray]] = {}
    for start in range(0, len(indices), batch_size):
        part = indices[start : start + batch_size]
        regions = torch.stack([question.regions[index] for index in part])
        target = replace(question.target, region=regions)
        with at_rest(network):
            found = _rows(network, scan.inputs(part), target, request.options)
        for place, index in enumerate(part):
            weights[scan.ras_slice_of(index)] = [layer[place] for layer in found]
    places = places_of_tokens(network, scan.inputs(indices[:1]))
    step, first = _as_seen(places, scan)
    return Heads(
        layers=[name.replace("blocks.", "") for name in attention_layers(network)],
        counts=[len(layer) for layer in next(iter(weights.values()))],
        weights=weights, first=first, step=step,
    )  # fmt: skip


def _rows(
    network: torch.nn.Module, image: torch.Tensor, target: Target, options: Options
) -> list[np.ndarray]:
    """One array per layer, (B, M, row, column) as a picture shows the grid before it is turned."""
    attended = attend(network, image, target, options)
    count, grid, found = math.prod(attended.grid), attended.grid, []
    for weights, start in zip(attended.weights, attended.starts, strict=True):
        rows = attended.rows[:, start : start + weights.shape[-1]]
        looks = torch.einsum("bn,bmnk->bmk", rows, weights)
        before = attended.before - start
        on_grid = looks[..., before : before + count].reshape(*looks.shape[:2], *grid)  # x, y
        found.append(on_grid.transpose(-1, -2).float().cpu().numpy())
    return found


def _as_seen(places: Places, scan: Scan) -> tuple[tuple[float, float], tuple[float, float]]:
    """Step and first token along the rows (from y) and columns (from x) of a picture.

    A picture is seen from the feet: both axes of a RAS slice run backwards in it.
    """
    step, first = [], []
    for axis, last in ((1, scan.ras_shape[1] - 1), (0, scan.ras_shape[0] - 1)):
        start = scan.ras_of(axis, places.shift[axis])
        step.append(start - scan.ras_of(axis, places.shift[axis] + places.step[axis]))
        first.append(last - start)
    return (step[0], step[1]), (first[0], first[1])
