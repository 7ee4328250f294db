"""Small models of every kind that can be exported, with weights that show several organs."""

from pathlib import Path

import torch

from medseg.loading.geometry import PatchGeometry, SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, build_network, write_model

LABELS = {"liver": 1, "spleen": 2, "aorta": 7}
CT = Preprocessing(window=(-125, 275))
UNET = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 4,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
}
SIZES = {
    "hidden_size": 16, "mlp_dim": 16, "num_heads": 2, "num_layers": 1, "block_units": [1, 1, 1],
    "width_factor": 0.125, "decoder_channels": [8, 8, 8, 8, 8],
}  # fmt: skip
SPECS = {
    "U-Net": ModelSpec(UNET, LABELS, CT, SliceGeometry((48, 40))),
    "U-Net, resampled": ModelSpec(
        UNET,
        LABELS,
        Preprocessing(window=(-125, 275), spacing=(2.0, None, 2.5)),
        SliceGeometry((48, 40)),
    ),
    "U-Net, zoomed, percentiles": ModelSpec(
        UNET,
        LABELS,
        Preprocessing(percentiles=(0.5, 99.5)),
        SliceGeometry((48, 56), zoom=0.8),
        inference={"activation": "sigmoid", "postprocessing": {"liver": {"keep_largest": 1}}},
    ),
    "TransUNet": ModelSpec(
        {
            "_target_": "medseg.networks.transunet.TransUNet",
            "image_size": [32, 32],
            "in_channels": 3,
            "num_classes": 4,
            **SIZES,
        },
        LABELS,
        CT,
        SliceGeometry((32, 32), neighbours=1),
        inference={"activation": "sigmoid"},
    ),
    "3D U-Net": ModelSpec(
        {**UNET, "spatial_dims": 3},
        LABELS,
        Preprocessing(window=(-125, 275), spacing=(2.0, 2.0, 2.0)),
        PatchGeometry((24, 16, 16), overlap=0.5),
    ),
    "TransUNet3D": ModelSpec(
        {
            "_target_": "medseg.networks.transunet_3d.TransUNet3D",
            "image_size": [16, 24, 16],
            "num_classes": 4,
            "widths": [4, 8, 8],
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_heads": 2,
            "num_layers": 1,
            "deep_supervision": True,
        },
        LABELS,
        Preprocessing(percentiles=(0.5, 99.5)),
        PatchGeometry((16, 24, 16), overlap=0.25),
    ),
}


def write(folder: Path, name: str) -> Path:
    """Write a model folder."""
    spec = SPECS[name]
    torch.manual_seed(4)
    network = build_network(spec.network)
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.5)
            elif path.startswith("head.heads."):  # which start by expecting background
                parameter.zero_()
    write_model(folder / "model", spec, network, {"val_dsc_per_organ": {"liver": 0.5}})
    return folder / "model"
