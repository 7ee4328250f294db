"""Whether the maps of a volume fit into the memory allowed, said before anything is computed."""

import copy
import math
from collections.abc import Sequence

import torch

from medseg.errors import ResourceError
from medseg.explain.scored import at_once
from medseg.explaining.patches import PatchScan
from medseg.explaining.placed import PlacedVolume
from medseg.inference.memory import PeakBytes, resident_bytes
from medseg.model import LoadedModel
from medseg.networks.meta import META, activation_bytes, on_meta

ASIDE = 2e8  # bytes: libraries read on the way, scratch space of threads
MARGIN = 1.2
WITHOUT_GRADIENTS = ("occlusion", "random", "raw", "rollout")
MANY_AT_ONCE = ("integrated_gradients", "occlusion")
RELEVANCE = 3.0  # times what a backward pass keeps: inputs, weights by sign, relevance


def check_memory(
    model: LoadedModel, scan: PlacedVolume, methods: Sequence[str], most_bytes: float | None
) -> None:
    """Refuse methods that would take a process beyond the memory allowed with one window.

    Slices are small: for them the attention weights alone are counted, where they are read.

    Args:
        model: Its network decides what a window takes.
        scan: The volume.
        methods: Asked for.
        most_bytes: For the whole process; ``None`` for no limit.

    Raises:
        ResourceError: If so; it says what would fit.
    """
    if most_bytes is None or not isinstance(scan, PatchScan):
        return
    needed = {name: bytes_needed(name, model, scan) for name in methods}
    if max(needed.values()) <= most_bytes:
        return
    worst = max(needed, key=lambda name: needed[name])
    fitting = [name for name, one in needed.items() if one <= most_bytes]
    instead = f", or ask for {', '.join(fitting)}, which would fit" if fitting else ""
    sides = " × ".join(map(str, scan.patch_size))
    raise ResourceError(
        f"{worst} of a volume of {' × '.join(map(str, scan.native.shape))} in windows of {sides} "
        f"needs about {needed[worst] / 1e9:.1f} GB, {most_bytes / 1e9:g} GB were allowed; raise "
        f"--max-memory{instead}"
    )


def bytes_needed(method: str, model: LoadedModel, scan: PatchScan) -> float:
    """What the process should take at its peak, with one window at a time."""
    shape = (1, 1, *scan.patch_size)
    network = on_meta(lambda: copy.deepcopy(model.network).to(META))
    if method in WITHOUT_GRADIENTS:
        with torch.inference_mode(), PeakBytes() as peak:
            network.eval()(torch.empty(shape, device=META))
        window = float(peak.most)
    else:
        window = float(activation_bytes(network, shape))
        window *= RELEVANCE if method == "tiba" else 1.0
    if method in MANY_AT_ONCE:
        window *= at_once(torch.empty(shape, device=META))
    maps = 4 * (2 * math.prod(scan.native.shape) + 2 * math.prod(scan.images.shape))
    return resident_bytes() + MARGIN * window + maps + ASIDE
