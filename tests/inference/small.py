"""Tiny images and a tiny model, for jobs in which only the job matters."""

import numpy as np
import torch
from torch import nn

from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, write_model
from medseg.volumes import Volume, write_volume

SHAPE = (12, 12, 4)


def write_threshold_model(folder, value=7, network=None):
    """A network of one layer that finds whatever is above 150."""
    spec = ModelSpec(
        network=network or {
            "_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1,
        },
        labels={"bone": value},
        preprocessing=Preprocessing(window=(100, 200)),
        geometry=SliceGeometry(image_size=(12, 12)),
    )  # fmt: skip
    layer = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([-10.0, 10.0]).view(2, 1, 1, 1)
        layer.bias[:] = torch.tensor([5.0, -5.0])
    write_model(folder, spec, layer, {})
    return folder


def image(number):
    """Image of a case; every case has another one, and no voxel on the threshold itself."""
    array = np.random.default_rng(number).integers(0, 300, SHAPE).astype(np.int16)
    array[array == 150] = 151
    return array


def write_images(folder, count, suffix=".nii.gz"):
    """Images of so many cases."""
    for number in range(count):
        volume = Volume(image(number), np.diag([0.8, 0.8, 3.0, 1.0]))
        write_volume(folder / f"case_{number:03d}{suffix}", volume)
    return folder


def truth(number):
    """What the model finds in the image of a case."""
    return (image(number) > 150) * 7
