"""The networks for volumes at a small size, for tests."""

import torch

from medseg.networks.hierarchical_3d import HierarchicalViT3D
from medseg.networks.transunet_3d import TransUNet3D
from medseg.networks.vit_3d import ViTCUP3D

WIDTHS = {"hidden_size": 24, "mlp_dim": 24, "num_heads": 6, "dropout": 0.0}
SIZE = (40, 56, 40)


def transunet_3d(**changes):
    given = {"widths": (4, 4, 8, 8), "num_layers": 2, **WIDTHS}
    return TransUNet3D(SIZE, 1, 3, **given | changes)


def vit_cup_3d(**changes):
    return ViTCUP3D(SIZE, 1, 3, **{"widths": (4, 4, 8), "num_layers": 2, **WIDTHS} | changes)


def hierarchical_3d(**changes):
    given = {"widths": (4, 4), "num_layers": (1, 2), "region_size": 8, **WIDTHS}
    return HierarchicalViT3D(SIZE, 1, 3, **given | changes)


MAKERS = {
    "TransUNet3D": transunet_3d,
    "ViTCUP3D": vit_cup_3d,
    "HierarchicalViT3D": hierarchical_3d,
}


def volumes(*shape):
    torch.manual_seed(0)
    return torch.randn(shape)
