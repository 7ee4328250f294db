"""One prepared volume through a network and onto its own grid, in bounded memory."""

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
from medseg.model import ModelSpec
from medseg.volumes import Header, Volume

BATCH_BYTES = 2**28  # of scores at the network's size: with many classes batches become smaller
LEAST_SLAB_BYTES = 2**20


@dataclass(frozen=True)
class Run:
    """How a network is run over a volume.

    Attributes:
        batch_size: Slices per forward pass, at most.
        device: Where the network is.
        precision: Autocast to ``"bfloat16"`` or ``"float16"``; ``"float32"`` casts nothing.
        slab_bytes: For scores on the native grid.
        activation: What makes probabilities of logits where they are written.
    """

    batch_size: int = 16
    device: str | torch.device = "cpu"
    precision: str = "float32"
    slab_bytes: int = SLAB_BYTES
    activation: str = "softmax"

    def smaller(self) -> Iterator["Run"]:
        """This run, then ever smaller ones: half the slices each time, then a thinner slab."""
        run = self
        yield run
        while run.batch_size > 1:
            run = replace(run, batch_size=run.batch_size // 2)
            yield run
        while run.slab_bytes > LEAST_SLAB_BYTES:
            run = replace(run, slab_bytes=max(run.slab_bytes // 8, LEAST_SLAB_BYTES))
            yield run

    def batch_of(self, spec: ModelSpec) -> int:
        """Slices per forward pass with this model."""
        height, width = spec.geometry.image_size
        per_slice = 4 * (len(spec.labels) + 1) * height * width
        return max(1, min(self.batch_size, BATCH_BYTES // per_slice))


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
    batch = {"batch_size": run.batch_of(spec), "device": run.device, "precision": run.precision}
    if placing is None:
        if probabilities is not None:
            raise UsageError("probabilities: the volume's axes are sheared; resample it first")
        parts = logits_of_slices(network, images, spec.geometry, **batch)  # type: ignore[arg-type]
        return _resampled_at_once(spec, parts, images.affine, native)
    _, shape = ras_grid(native)
    scores = scores_of_slices(network, images, spec.geometry, **batch)  # type: ignore[arg-type]
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


def placing_on(images: PreparedSlices, native: Header) -> Placing | None:
    """How the native grid, in RAS order, lies in that of the slices; ``None`` if axes differ."""
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
