"""Small networks of every kind that can be explained, and images for them."""

import torch

from medseg.networks.segmenter import Segmenter
from medseg.networks.transunet import TransUNet
from medseg.networks.unet_r50 import R50UNet
from medseg.networks.vit import ViT

SIZES = {"hidden_size": 24, "mlp_dim": 32, "num_heads": 2, "num_layers": 2}
HYBRID = {"block_units": (1, 1, 1), "width_factor": 0.25, "decoder_channels": (16, 16, 16, 8, 8)}
IMAGE = (48, 80)  # not square
CLASSES = 4


def transunet():
    return TransUNet(IMAGE, 1, CLASSES, **SIZES, **HYBRID)


def vit_cup():
    sizes = SIZES | {"decoder_channels": (16, 16, 16, 8, 8)}
    return TransUNet(IMAGE, 1, CLASSES, "ViT-B_16", **sizes)


def segmenter(decoder="mask"):
    return Segmenter(IMAGE, 1, CLASSES, decoder=decoder, patch_size=8, **SIZES)


def linear_segmenter():
    return segmenter("linear")


def unet():
    return R50UNet(
        1, CLASSES, block_units=(1, 1, 1), width_factor=0.25, decoder_channels=(16, 16, 16, 8, 8)
    )


def vit(**tokens):
    return ViT(IMAGE, 1, CLASSES, patch_size=8, **SIZES, **tokens)


TRANSFORMERS = (transunet, vit_cup, segmenter, linear_segmenter)
SEGMENTING = (*TRANSFORMERS, unet)


def made(make, seed=0):
    """A network with weights so large that classes differ, in ``eval()`` mode."""
    torch.manual_seed(seed)
    network = make().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("attn.qkv.weight"):
                parameter.mul_(10)
    return network


def images(count=2, seed=0):
    return torch.rand((count, 1, *IMAGE), generator=torch.Generator().manual_seed(seed))


def box():
    """A region in the upper right of the image."""
    region = torch.zeros((1, *IMAGE), dtype=torch.bool)
    region[:, 4:20, 50:70] = True
    return region
