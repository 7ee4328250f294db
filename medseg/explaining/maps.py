"""Maps of the slices or windows that a target lies in."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from medseg.errors import InputError, UsageError
from medseg.explain import Target, channel_of, explain_network
from medseg.explaining.patches import PatchScan
from medseg.explaining.placed import Part, PlacedVolume
from medseg.explaining.request import Request
from medseg.jobs import Progress
from medseg.model import LoadedModel
from medseg.volumes import read_volume


@dataclass(frozen=True)
class Question:
    """A request, worked out for one model and one volume.

    Attributes:
        target: Class, and the class it is held against.
        regions: Prepared slice → where the target is in it, bool (H, W), as
            :class:`PlacedVolume` has them.
        parts: Inputs of the network that hold it, one or more.
    """

    target: Target
    regions: dict[int, torch.Tensor]
    parts: list[Part]

    @property
    def largest(self) -> int:
        """The slice that holds most of the target."""
        return max(self.regions, key=lambda index: int(self.regions[index].sum()))


def question_of(
    request: Request, model: LoadedModel, scan: PlacedVolume, *, batch_size: int
) -> Question:
    """Find the classes that a request names, and where in the volume its target is.

    In a model of slices one slice of it, unless the whole volume is asked for; in a model of
    patches all of it, unless one slice is.

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
    regions = _regions(request, target.channel, scan, batch_size)
    if not regions:
        where = "" if request.slice_index is None else f" in slice {request.slice_index}"
        what = "the region is empty" if request.region else f"the model finds no {request.organ}"
        raise UsageError(f"{what}{where}: name another slice, a voxel or a region")
    return Question(target, regions, scan.parts(regions, whole=request.whole_volume))


def maps_of(
    method: str,
    question: Question,
    *,
    model: LoadedModel,
    scan: PlacedVolume,
    request: Request,
    batch_size: int,
    progress: Progress,
) -> tuple[dict[int, torch.Tensor], float]:
    """Maps by one method.

    Returns:
        Prepared slice → map, float (H, W), as :class:`PlacedVolume` has them; and the seconds.
    """
    started = time.perf_counter()
    parts, batch = question.parts, _at_once(request, scan, batch_size)

    def explained() -> Iterator[tuple[Part, torch.Tensor]]:
        for start in range(0, len(parts), batch):
            some = parts[start : start + batch]
            regions = torch.stack([part.region for part in some])
            found = explain_network(
                model.network, scan.fed(some), replace(question.target, region=regions),
                method=method, options=request.options,
            )  # fmt: skip
            yield from zip(some, found.cpu(), strict=True)
            progress(f"Explaining by {method}", start + len(some), len(parts))

    maps = scan.joined(explained())
    return maps, time.perf_counter() - started


def _regions(
    request: Request, channel: int, scan: PlacedVolume, batch_size: int
) -> dict[int, torch.Tensor]:
    """Where the target is, slice by slice; empty if it is nowhere."""
    wanted = None if request.slice_index is None else scan.slice_of(request.slice_index)
    if request.voxel is not None:
        index, mask = scan.pixel_of(request.voxel)
        return {index: mask[0]}
    if request.region is not None:
        masks = scan.masks_of(_read_region(request, scan))
        regions = {index: torch.from_numpy(mask) for index, mask in enumerate(masks) if mask.any()}
    else:
        indices = range(len(scan.images)) if wanted is None else [wanted]
        batch = _at_once(request, scan, batch_size)
        regions = scan.found(channel, indices, batch_size=batch)
    if wanted is not None or not (request.whole_volume or isinstance(scan, PatchScan)):
        regions = _one_slice(regions, wanted)
    return regions


def _at_once(request: Request, scan: PlacedVolume, batch_size: int) -> int:
    limited = isinstance(scan, PatchScan) and request.options.most_bytes is not None
    return 1 if limited else min(batch_size, scan.most_at_once)


def _one_slice(regions: dict[int, torch.Tensor], wanted: int | None) -> dict[int, torch.Tensor]:
    if wanted is None and regions:
        wanted = max(regions, key=lambda index: int(regions[index].sum()))
    return {index: region for index, region in regions.items() if index == wanted}


def _read_region(request: Request, scan: PlacedVolume) -> np.ndarray:
    path = request.region
    if path is None:
        raise UsageError("expected a region")
    region = read_volume(path, "label").array
    if region.shape != scan.native.shape:
        wanted = f"a label map on the grid {scan.native.shape} of the image"
        raise InputError(path, wanted, f"shape {region.shape}")
    return np.asarray(region != 0)
