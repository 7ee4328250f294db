"""The whole-volume way: everything prepared, run and resampled at once, by MONAI's transforms."""

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from torch import nn

from medseg.inference.native import paint_labels, same_grid, turn_to_native
from medseg.inference.slices import logits_of_slices
from medseg.loading.preprocessing import prepare_image
from medseg.volumes import Header, Volume


def whole_volume_scores(spec, network, volume):
    """Logits of every class on the native grid, float32, shape (C, I, J, K)."""
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    prepared = prepare_image(volume, spec.preprocessing)
    images = np.ascontiguousarray(prepared.array.transpose(2, 0, 1))
    parts = [part for _, part in logits_of_slices(network, images, spec.geometry)]
    logits = torch.cat(parts).permute(1, 2, 3, 0)
    if same_grid(prepared.affine, prepared.array.shape, native):
        return np.stack([turn_to_native(channel, native) for channel in logits.numpy()])
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=np.float64)
    moved = resample(
        MetaTensor(logits, affine=prepared.affine),
        dst_affine=native.affine, spatial_size=native.shape,
    )  # fmt: skip
    return moved.numpy().astype(np.float32)


def whole_volume_labels(spec, network, volume):
    scores = whole_volume_scores(spec, network, volume)
    classes = (scores[0] > 0).astype(int) if len(scores) == 1 else scores.argmax(axis=0)
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    return paint_labels(classes, spec.labels, native).array


class Wavy(nn.Module):
    """Smooth logits that depend on every channel and on the place."""

    def __init__(self, channels=1, classes=5, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.mix = nn.Parameter(torch.randn(classes, channels, generator=generator) * 4)
        self.phase = nn.Parameter(torch.randn(classes, 2, generator=generator) * 3)

    def forward(self, batch):
        height, width = (torch.linspace(-1, 1, size) for size in batch.shape[2:])
        place = (
            self.phase[:, 0, None, None] * height[:, None] + self.phase[:, 1, None, None] * width
        )
        return torch.einsum("bchw,kc->bkhw", batch, self.mix) + torch.sin(place)


def random_volume(seed):
    """A volume of any orientation, anisotropy and tilt, int16 or float32, smooth."""
    random = np.random.default_rng(seed)
    shape = tuple(int(size) for size in random.integers(9, 26, size=3))
    axes = [np.linspace(0, 1, size) for size in shape]
    waves = [random.normal(size=(5, 3)) * 6, random.uniform(0, 7, size=5)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    image = np.sin(grid @ waves[0].T + waves[1]).sum(axis=-1) * 90
    image = image.astype(np.int16 if seed % 2 else np.float32)
    affine = np.eye(4)
    signs = random.choice([-1.0, 1.0], size=3)
    turned = np.eye(3)[random.permutation(3)] * signs
    if seed % 3 == 0:
        turned = _tilt(random.normal(size=3) * 0.25) @ turned
    affine[:3, :3] = turned @ np.diag(random.uniform(0.6, 3.5, size=3))
    affine[:3, 3] = random.uniform(-200, 200, size=3)
    order = "F" if seed % 4 < 2 else "C"
    return Volume(np.array(image, order=order), affine)


def _tilt(angles):
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        i, j = [other for other in range(3) if other != axis]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    return turn
