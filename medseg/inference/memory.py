"""How much memory a volume takes, and what to do when there is less."""

import gc
import math
import resource
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.errors import ResourceError
from medseg.inference.label_map import Run, placing_on
from medseg.inference.native import values_of_classes
from medseg.inference.prepared import PreparedSlices
from medseg.inference.window_sums import ROW_BYTES
from medseg.inference.windows import AT_ONCE, HANDED_BYTES, Tiling, most_held
from medseg.loading.geometry import PatchGeometry, SliceGeometry
from medseg.model import ModelSpec
from medseg.volumes import Header

Result = TypeVar("Result")
MARGIN = 1.1  # of what is added: what the allocator takes besides
AT_ONCE_BYTES = (8, 45)  # per prepared and per native voxel, where one class is resampled at once
ASIDE = 100e6  # bytes: scratch space of oneDNN and of threads


def with_less(run: Run, function: Callable[[Run], Result]) -> tuple[Result, Run]:
    """Call a function with a run, and with ever smaller ones while memory runs out.

    Returns:
        What it gave, and the run it gave it for.

    Raises:
        ResourceError: If the smallest run needs too much as well.
    """
    for smaller in run.smaller():
        try:
            return function(smaller), smaller
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
        gc.collect()
        if torch.device(run.device).type == "cuda":
            torch.cuda.empty_cache()
    raise ResourceError(
        f"out of memory on {run.device}, even with one slice or window at a time; close other "
        "programs, or predict on a machine with more"
    )


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that there was no memory, on the CPU or a GPU."""
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)


def run_within(
    most_gb: float,
    run: Run,
    spec: ModelSpec,
    images: PreparedSlices,
    native: Header,
    forward: tuple[float, float],
) -> Run:
    """The largest run, up to the given one, that should keep the process below so many GB.

    Args:
        most_gb: Of memory for the whole process, in 10^9 bytes.
        run: What would be done without a limit.
        spec: Of the model.
        images: The prepared volume, in memory.
        native: Its grid.
        forward: What :func:`forward_bytes` says of the network, which is in memory.

    Raises:
        ResourceError: If one slice or window at a time needs more.
    """
    held = float(resident_bytes())
    needed = held
    in_windows = isinstance(spec.geometry, PatchGeometry)
    if in_windows and run.held_bytes is None:
        run = replace(run, held_bytes=sys.maxsize)  # what is allowed may be used
    for smaller in run.smaller():
        network = forward[1] + smaller.batch_of(spec) * forward[0]
        needed = held + MARGIN * _added(network, smaller, spec, images, native) + ASIDE
        if needed <= most_gb * 1e9:
            return smaller
    why = "" if placing_on(images, native) else ", and sheared axes are resampled as a whole"
    raise ResourceError(
        f"a volume of {native.shape} needs about {needed / 1e9:.1f} GB with one "
        f"{'window' if in_windows else 'slice'} at a time{why}, {most_gb:g} GB were allowed; "
        "raise --max-memory"
    )


def forward_bytes(network: nn.Module, spec: ModelSpec, run: Run) -> tuple[float, float]:
    """Bytes that a forward pass holds at its peak: for each further slice, and in any case.

    The network is tried on one and on two slices; on one window alone where two would be too many.
    """
    shape = spec.geometry.input_shape
    peaks = []
    for count in (1, 2) if run.batch_of(spec) > 1 else (1,):
        images = torch.zeros(count, *shape, device=run.device)
        with torch.inference_mode(), PeakBytes() as peak:
            network(images)
        peaks.append(peak.most)
    per_slice = max(peaks[1] - peaks[0], 0) if len(peaks) > 1 else peaks[0]
    return float(per_slice), float(max(peaks[0] - per_slice, 0))


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made within it and still in use.

    Attributes:
        most: Their largest sum so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = 0
        self._seen: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and look at what it gives."""
        found = func(*args, **(kwargs or {}))
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if _has_bytes(t)}
        for tensor in tree_leaves(found):
            if _has_bytes(tensor) and id(tensor.untyped_storage()) not in given:
                self._count(tensor.untyped_storage())
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return
        self._seen[key] = size
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._seen.pop(key)


def resident_bytes() -> int:
    """Memory of this process at the moment; on systems without ``/proc`` the most it has had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
    return pages * resource.getpagesize()


def _added(
    forward: float, run: Run, spec: ModelSpec, images: PreparedSlices, native: Header
) -> float:
    """Bytes at the peak, on top of what there is before the first slice."""
    values, voxels = values_of_classes(spec.labels), math.prod(native.shape)
    pixels = max(images.shape[1] * images.shape[2], voxels // max(len(images), 1))
    slab = max(run.slab_bytes, 12 * pixels)
    if isinstance(spec.geometry, PatchGeometry):
        busiest = _of_windows(forward, slab, run, spec, images, spec.geometry)
    else:
        busiest = _of_slices(forward, slab, run.batch_of(spec), len(values), images, spec.geometry)
    if placing_on(images, native) is None:
        busiest = _at_once(busiest, run.batch_of(spec), len(values), images, voxels)
    return voxels * values.itemsize + busiest


def _at_once(
    busiest: float, batch: int, classes: int, images: PreparedSlices, voxels: int
) -> float:
    """All scores in half precision, and the largest of what happens beside them.

    That is the network, or their copy into one piece, or a class on its way to the native grid.
    """
    prepared = math.prod(images.shape)
    scores = 2 * classes * prepared
    on_slices = 4 * classes * batch * prepared // len(images)
    resampling = AT_ONCE_BYTES[0] * prepared + AT_ONCE_BYTES[1] * voxels
    return scores + max(busiest + on_slices, scores, resampling)


def _of_slices(
    forward: float, slab: int, batch: int, classes: int, images: PreparedSlices,
    geometry: SliceGeometry,
) -> float:  # fmt: skip
    """Slices and their neighbours, and the larger of the network and what follows it."""
    seen = batch + 2 * geometry.neighbours
    stack = 4 * math.prod(images.shape[1:]) * (3 * seen + batch * geometry.channels)
    scores = 4 * classes * math.prod(geometry.image_size)
    return stack + max(forward + scores, (2 * batch + 2) * scores + slab)


def _of_windows(
    forward: float, slab: int, run: Run, spec: ModelSpec, images: PreparedSlices,
    geometry: PatchGeometry,
) -> float:  # fmt: skip
    """A layer's planes, the sums, and the larger of the network and what follows it."""
    tiling, classes = Tiling.of(images.shape, geometry), len(spec.labels) + 1
    window = 4 * classes * math.prod(geometry.patch_size)
    plane = tiling.plane_bytes(classes)
    held = most_held(run.device) if run.held_bytes is None else run.held_bytes
    sums = tiling.sum_bytes(classes)
    sums = sums if sums <= held else min(sums, ROW_BYTES)
    layer = 4 * math.prod(tiling.plane) * (tiling.patch[0] + 3 * AT_ONCE)
    handed = max(plane, HANDED_BYTES)
    adding = (run.batch_of(spec) + 1) * window
    return layer + sums + max(forward, adding, 3 * handed + 2 * plane + slab)


def _has_bytes(value: Any) -> bool:
    if not isinstance(value, torch.Tensor):
        return False
    try:
        value.untyped_storage()
    except (NotImplementedError, RuntimeError):  # packed weights have no storage to ask
        return False
    return True
