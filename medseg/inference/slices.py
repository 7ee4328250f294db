"""Run a 2D network over the axial slices of a volume."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from medseg.inference.grids import sample, sampling_grid
from medseg.inference.prepared import PreparedSlices
from medseg.loading.geometry import SliceGeometry

Slices = np.ndarray | PreparedSlices  # axial slices first, shape (Z, X, Y)
PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def predict_slices(
    network: nn.Module,
    images: Slices,
    geometry: SliceGeometry,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> np.ndarray:
    """Class of every voxel, slice by slice.

    Args:
        network: Takes (B, channels, H, W), gives logits (B, C, H, W); put in ``eval()`` here
            and back afterwards.
        images: Prepared volume, axial slices first, shape (Z, X, Y).
        geometry: How slices become the network's input.
        batch_size: Slices per forward pass.
        device: Where the network runs.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"`` (autocast).

    Returns:
        Class indices, uint8, shape (Z, X, Y). A network with one output channel gives 1 where
        its probability is above one half.
    """
    classes = np.empty(images.shape, dtype=np.uint8)
    batches = logits_of_slices(
        network, images, geometry, batch_size=batch_size, device=device, precision=precision
    )
    for start, logits in batches:
        classes[start : start + len(logits)] = labels_of(logits).to(torch.uint8).cpu().numpy()
    return classes


def labels_of(logits: torch.Tensor) -> torch.Tensor:
    """Class of every pixel, shape (B, C, H, W) to (B, H, W); of one channel, whether it is > 0."""
    if logits.shape[1] == 1:
        return logits[:, 0] > 0
    return logits.max(dim=1).indices  # far faster on a CPU than argmax(dim=1)


def sample_inputs(
    images: Slices, geometry: SliceGeometry, device: str | torch.device, *, count: int = 4
) -> torch.Tensor:
    """What the network is fed for a few slices spread evenly, float32 (B, channels, H, W)."""
    count = min(count, len(images))
    middles = [(2 * part + 1) * len(images) // (2 * count) for part in range(count)]
    return inputs_of(images, geometry, middles, device)


def inputs_of(
    images: Slices, geometry: SliceGeometry, indices: Sequence[int], device: str | torch.device
) -> torch.Tensor:
    """What the network is fed for the slices named, float32 (B, channels, H, W)."""
    to_input, _ = sampling_grids(geometry, (images.shape[1], images.shape[2]))
    batch = _stack(images, geometry, indices)
    return sample(batch.to(device), to_input.to(device), geometry.outside)


def logits_of_slices(
    network: nn.Module,
    images: Slices,
    geometry: SliceGeometry,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first slice index, logits on the slice's own pixels, float32 (B, C, X, Y))."""
    _, to_slice = sampling_grids(geometry, (images.shape[1], images.shape[2]))
    to_slice = to_slice.to(device)
    batches = scores_of_slices(
        network, images, geometry, batch_size=batch_size, device=device, precision=precision
    )
    for start, scores in batches:
        yield start, sample(scores, to_slice, "border")


def scores_of_slices(
    network: nn.Module,
    images: Slices,
    geometry: SliceGeometry,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first slice index, what the network gives, float32 (B, C, H, W))."""
    to_input, _ = sampling_grids(geometry, (images.shape[1], images.shape[2]))
    to_input = to_input.to(device)
    was_training = network.training
    network.eval()
    try:
        for start in range(0, len(images), batch_size):
            batch = _stack(images, geometry, range(start, min(start + batch_size, len(images))))
            with torch.inference_mode():
                inputs = sample(batch.to(device), to_input, geometry.outside)
                scores = _forward(network, inputs, precision)
            yield start, scores
            del scores  # before there are the next ones
    finally:
        network.train(was_training)


def _stack(images: Slices, geometry: SliceGeometry, indices: Sequence[int]) -> torch.Tensor:
    """Slices with their neighbours as channels, float32 (B, channels, X, Y)."""
    rows = [geometry.slice_indices(index, len(images)) for index in indices]
    return torch.from_numpy(np.asarray(images[np.asarray(rows)], dtype=np.float32))


def _forward(network: nn.Module, inputs: torch.Tensor, precision: str) -> torch.Tensor:
    dtype = PRECISIONS[precision]
    with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype != torch.float32):
        logits: torch.Tensor = network(inputs)
    return logits.float()


def sampling_grids(
    geometry: SliceGeometry, slice_shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Grids for ``grid_sample``: slice to input (1, H, W, 2), and back (1, X, Y, 2)."""
    matrix = geometry.matrix(slice_shape)
    step, shift = np.diag(matrix), matrix[:, 2]
    to_input = sampling_grid(geometry.image_size, step, shift, slice_shape)
    to_slice = sampling_grid(slice_shape, 1 / step, -shift / step, geometry.image_size)
    return to_input, to_slice
