"""One prepared volume through a network and onto its own grid, in bounded memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.grids import Placing, placing_of
from medseg.inference.native import (
    paint_labels,
    ras_grid,
    resample_logits,
    same_grid,
    turn_to_native,
    values_of_classes,
)
from medseg.inference.prepared import PreparedSlices
from medseg.inference.probabilities import ProbabilityFile
from medseg.inference.slab import (
    SLAB_BYTES,
    Scores,
    classes_of,
    in_plane,
    native_slabs,
    slab_size,
)
from medseg.inference.slices import logits_of_slices, scores_of_slices
from medseg.inference.windows import logits_of_windows
from medseg.loading.geometry import PatchGeometry
from medseg.model import ModelSpec
from medseg.volumes import Header, Volume

BATCH_BYTES = 2**28  # of scores at the network's size: with many classes batches become smaller
BATCH_VOXELS = 2**20  # of windows: more at once are not quicker, and take memory
LEAST_SLAB_BYTES = 2**20


@dataclass(frozen=True)
class Run:
    """How a network is run over a volume.

    Attributes:
        batch_size: Slices or windows per forward pass, at most.
        device: Where the network is.
        precision: Autocast to ``"bfloat16"`` or ``"float16"``; ``"float32"`` casts nothing.
        slab_bytes: For scores on the native grid.
        activation: What makes probabilities of logits where they are written.
        held_bytes: As in :func:`medseg.inference.windows.logits_of_windows`.
    """

    batch_size: int = 16
    device: str | torch.device = "cpu"
    precision: str = "float32"
    slab_bytes: int = SLAB_BYTES
    activation: str = "softmax"
    held_bytes: int | None = None

    def smaller(self) -> Iterator["Run"]:
        """This run, then ever smaller ones: half the slices or windows each time, then less held.

        A thinner slab comes last; with it, the sums of windows go to a file.
        """
        run = self
        yield run
        while run.batch_size > 1:
            run = replace(run, batch_size=run.batch_size // 2)
            yield run
        while run.slab_bytes > LEAST_SLAB_BYTES:
            least = max(run.slab_bytes // 8, LEAST_SLAB_BYTES)
            run = replace(run, slab_bytes=least, held_bytes=0)
            yield run

    def batch_of(self, spec: ModelSpec) -> int:
        """Slices or windows per forward pass with this model."""
        pixels = math.prod(spec.geometry.input_shape[1:])
        fitting = BATCH_BYTES // (4 * (len(spec.labels) + 1) * pixels)
        if isinstance(spec.geometry, PatchGeometry):
            fitting = min(fitting, BATCH_VOXELS // pixels)
        return max(1, min(self.batch_size, fitting))


def label_map_of(
    spec: ModelSpec,
    images: PreparedSlices,
    native: Header,
    network: nn.Module,
    run: Run,
    probabilities: Path | None = None,
) -> Volume:
    """Label map on the native grid.

    Args:
        spec: What the network was made for.
        images: The prepared volume.
        native: Grid to go to.
        network: Gives logits.
        run: How to run it.
        probabilities: Where to write them as well, or ``None``.

    Raises:
        UsageError: If probabilities are asked for on a grid that is sheared.
    """
    placing = placing_on(images, native)
    if placing is None:
        if probabilities is not None:
            raise UsageError("probabilities: the volume's axes are sheared; resample it first")
        parts = _scores(spec, images, network, run, on_slices=True)
        return _resampled_at_once(spec, parts, images.affine, native)
    _, shape = ras_grid(native)
    scores = _scores(spec, images, network, run)
    onto = in_plane(spec.geometry, images.shape[1:], placing, shape[:2], run.device)
    pixels = max(images.shape[1] * images.shape[2], shape[0] * shape[1])
    values = values_of_classes(spec.labels)
    thick, group = slab_size(pixels, len(values), run.slab_bytes)
    labels = np.empty((shape[2], *shape[:2]), dtype=values.dtype)
    with ProbabilityFile(probabilities, native, len(values)) as file, torch.inference_mode():
        for first, slab in native_slabs(scores, placing, len(images), shape[2], thick):
            if probabilities is None:
                classes = classes_of(slab, onto, group)
            else:
                classes = file.put(first, onto(slab), run.activation)
            labels[first : first + len(slab)] = values[classes.long().cpu().numpy()]
            del slab, classes
    return Volume(turn_to_native(labels.transpose(1, 2, 0), native), native.affine)


def _scores(
    spec: ModelSpec,
    images: PreparedSlices,
    network: nn.Module,
    run: Run,
    *,
    on_slices: bool = False,
) -> Scores:
    """What the network gives; of slices at its own size, unless wanted on the slices' pixels."""
    geometry, batch = spec.geometry, run.batch_of(spec)
    if isinstance(geometry, PatchGeometry):
        return logits_of_windows(
            network, images, geometry, batch_size=batch, device=run.device,
            precision=run.precision, held_bytes=run.held_bytes,
        )  # fmt: skip
    way = logits_of_slices if on_slices else scores_of_slices
    return way(
        network, images, geometry, batch_size=batch, device=run.device, precision=run.precision
    )


def placing_on(images: PreparedSlices, native: Header) -> Placing | None:
    """How the native grid lies in the prepared one; ``None``: sheared, to be resampled at once."""
    depth, x, y = images.shape
    if same_grid(images.affine, (x, y, depth), native):
        return Placing.same()
    affine, shape = ras_grid(native)
    return placing_of(affine, images.affine, shape)


def _resampled_at_once(
    spec: ModelSpec, parts: Scores, affine: np.ndarray, native: Header
) -> Volume:
    logits = np.concatenate([part.half().cpu().numpy() for _, part in parts])
    classes = resample_logits(logits.transpose(1, 2, 3, 0), affine, native)
    return paint_labels(classes, spec.labels, native)
