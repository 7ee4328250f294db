"""Maps of the slices that a target lies in."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from medseg.errors import InputError, UsageError
from medseg.explain import Target, channel_of, explain_network
from medseg.explaining.request import Request
from medseg.explaining.scan import Scan
from medseg.jobs import Progress
from medseg.model import LoadedModel
from medseg.volumes import read_volume


@dataclass(frozen=True)
class Question:
    """A request, worked out for one model and one volume.

    Attributes:
        target: Class, and the class it is held against.
        regions: Prepared slice → where the target is in it, bool (H, W) at the network's size.
    """

    target: Target
    regions: dict[int, torch.Tensor]

    @property
    def largest(self) -> int:
        """The slice that holds most of the target."""
        return max(self.regions, key=lambda index: int(self.regions[index].sum()))


def question_of(request: Request, model: LoadedModel, scan: Scan, *, batch_size: int) -> Question:
    """Find the classes that a request names, and where in the volume its target is.

    Raises:
        UsageError: If the model has no such organ, or the target is nowhere.
        InputError: If the region's file does not fit the image.
    """
    channels, labels = scan.channels, model.spec.labels
    against = request.against
    target = Target(
        channel_of(request.organ, labels, channels),
        None if against is None else channel_of(against, labels, channels),
    )
    wanted = None if request.slice_index is None else scan.slice_of(request.slice_index)
    if request.voxel is not None:
        index, mask = scan.pixel_of(request.voxel)
        return Question(target, {index: mask[0]})
    if request.region is not None:
        masks = scan.masks_of(_read_region(request, scan))
        regions = {index: torch.from_numpy(mask) for index, mask in enumerate(masks) if mask.any()}
    else:
        indices = range(len(scan.images)) if wanted is None else [wanted]
        regions = scan.found(target.channel, indices, batch_size=batch_size)
    if not request.whole_volume:
        regions = _one_slice(regions, wanted)
    if not regions:
        where = "" if request.slice_index is None else f" in slice {request.slice_index}"
        what = "the region is empty" if request.region else f"the model finds no {request.organ}"
        raise UsageError(f"{what}{where}: name another slice, a voxel or a region")
    return Question(target, regions)


def maps_of(
    method: str,
    question: Question,
    *,
    model: LoadedModel,
    scan: Scan,
    request: Request,
    batch_size: int,
    progress: Progress,
) -> tuple[dict[int, torch.Tensor], float]:
    """Maps by one method.

    Returns:
        Prepared slice → map at the network's size, float (H, W); and the seconds it took.
    """
    indices, started = sorted(question.regions), time.perf_counter()
    maps: dict[int, torch.Tensor] = {}
    for start in range(0, len(indices), batch_size):
        part = indices[start : start + batch_size]
        regions = torch.stack([question.regions[index] for index in part])
        found = explain_network(
            model.network, scan.inputs(part), replace(question.target, region=regions),
            method=method, options=request.options,
        )  # fmt: skip
        maps.update(zip(part, found.cpu(), strict=True))
        progress(f"Explaining by {method}", start + len(part), len(indices))
    return maps, time.perf_counter() - started


def _one_slice(regions: dict[int, torch.Tensor], wanted: int | None) -> dict[int, torch.Tensor]:
    if wanted is None and regions:
        wanted = max(regions, key=lambda index: int(regions[index].sum()))
    return {index: region for index, region in regions.items() if index == wanted}


def _read_region(request: Request, scan: Scan) -> np.ndarray:
    path = request.region
    if path is None:
        raise UsageError("expected a region")
    region = read_volume(path, "label").array
    if region.shape != scan.native.shape:
        wanted = f"a label map on the grid {scan.native.shape} of the image"
        raise InputError(path, wanted, f"shape {region.shape}")
    return np.asarray(region != 0)
