"""Raw attention of every layer and head for a target, small enough to stand in a page."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from medseg.explain import Options, Target
from medseg.explain.flow import attend
from medseg.explain.places import Places, places_of_tokens
from medseg.explain.reading import at_rest, attention_layers
from medseg.explaining.maps import Question
from medseg.explaining.patches import PatchScan
from medseg.explaining.placed import Part, PlacedVolume
from medseg.explaining.request import Request
from medseg.explaining.views import part_shown
from medseg.model import LoadedModel
from medseg.report.overlays import Heads


def heads_of(
    question: Question, *, model: LoadedModel, scan: PlacedVolume, request: Request, batch_size: int
) -> Heads:
    """Read where the target's tokens look, in every layer and head of every slice explained.

    In a model of patches these are the slices of the one window that holds most of the target:
    the tokens of two windows do not lie on one grid.

    Raises:
        UsageError: If the network has no attention.
        ResourceError: If attention would take more memory than the options allow.
    """
    network = model.network
    parts = [part_shown(question, scan)] if isinstance(scan, PatchScan) else question.parts
    batch, looks = min(batch_size, scan.most_at_once), list[list[np.ndarray]]()
    for start in range(0, len(parts), batch):
        some = parts[start : start + batch]
        regions = torch.stack([part.region for part in some])
        target = replace(question.target, region=regions)
        with at_rest(network):
            found = _looks(network, scan.fed(some), target, request.options)
        looks += [[layer[place] for layer in found] for place in range(len(some))]
    places, weights = places_of_tokens(network, scan.fed(parts[:1])), dict[int, list[np.ndarray]]()
    for part, layers in zip(parts, looks, strict=True):
        for index, planes in _by_slice(layers, part, places, scan):
            weights[scan.ras_slice_of(index)] = planes
    step, first, area = _as_seen(places, parts[0], scan)
    return Heads(
        layers=[name.replace("blocks.", "") for name in attention_layers(network)],
        counts=[len(layer) for layer in next(iter(weights.values()))],
        weights=weights, first=first, step=step, area=area,
    )  # fmt: skip


def _looks(
    network: torch.nn.Module, image: torch.Tensor, target: Target, options: Options
) -> list[np.ndarray]:
    """Where the target's tokens look, one array per layer, each (B, M, *grid)."""
    attended, found = attend(network, image, target, options), []
    for index, gain in enumerate(attended.joined(attended.weights)):
        heads = gain.layer.heads or gain.parts[0].shape[1]
        looks = [attended.looked_at(replace(gain, head=head), index) for head in range(heads)]
        found.append(torch.stack(looks, dim=1).float().cpu().numpy())
    return found


def _by_slice(
    layers: list[np.ndarray], part: Part, places: Places, scan: PlacedVolume
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Prepared slices of a part, each with its layers (M, y, x); between tokens linearly."""
    first = part.corner[0]
    if part.region.ndim == 2:
        yield first, [layer.swapaxes(1, 2) for layer in layers]
        return
    last = layers[0].shape[3] - 1
    for depth in range(min(part.region.shape[2], len(scan.images) - first)):
        place = min(max((depth - places.shift[2]) / places.step[2], 0), last)
        low = min(int(place), max(last - 1, 0))
        high, share = min(low + 1, last), place - low
        planes = [(1 - share) * one[..., low] + share * one[..., high] for one in layers]
        yield first + depth, [plane.swapaxes(1, 2) for plane in planes]


def _as_seen(
    places: Places, part: Part, scan: PlacedVolume
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float, float, float]]:
    """Step, first token and ends of a part along rows (from y) and columns (from x) of a picture.

    A picture is seen from the feet: both axes of a RAS slice run backwards in it.
    """
    step, first, area = [], [], []
    for axis in (1, 0):
        corner, side = part.corner[1 + axis], part.region.shape[axis]

        def seen(pixel: float, axis: int = axis, corner: int = corner) -> float:
            return scan.ras_shape[axis] - 1 - scan.ras_of(axis, corner + pixel)

        first.append(seen(places.shift[axis]))
        step.append(seen(places.shift[axis] + places.step[axis]) - first[-1])
        area += [seen(side - 0.5), seen(-0.5)]
    return (step[0], step[1]), (first[0], first[1]), (area[0], area[1], area[2], area[3])
