"""What holds for every 2D network of the published tables, at a small size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medseg.networks.segmenter import Segmenter
from medseg.networks.transunet import TransUNet
from medseg.networks.unet_r50 import R50AttnUNet, R50UNet
from medseg.networks.vit import ViT
from medseg.networks.vnet import VNet

WIDTHS = {"hidden_size": 16, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
CONV = {"block_units": (1, 1, 1), "width_factor": 0.125}
UP = {"decoder_channels": (16, 8, 8, 8, 8)}
HYBRID = {"image_size": 64, **WIDTHS, **CONV, **UP}
PURE = {"image_size": 64, **WIDTHS, **UP}

NETWORKS = {
    "TransUNet": lambda: TransUNet(**HYBRID),
    "TransUNet, patch 8": lambda: TransUNet(patch_size=8, **HYBRID),
    "TransUNet, patch 32": lambda: TransUNet(patch_size=32, **HYBRID),
    "R50-ViT-CUP": lambda: TransUNet(num_skips=0, **HYBRID),
    "ViT-CUP": lambda: TransUNet(variant="ViT-B_16", **PURE),
    "ViT-CUP, patch 8": lambda: TransUNet(variant="ViT-B_8", **PURE),
    "ViT-CUP, patch 14": lambda: TransUNet(variant="ViT-H_14", **PURE),
    "ViT-CUP, patch 32": lambda: TransUNet(variant="ViT-B_32", **PURE),
    "ViT-CUP, relative": lambda: TransUNet(variant="ViT-B_16", positions="relative", **PURE),
    "ViT-None": lambda: TransUNet(variant="ViT-B_16", decoder="naive", **PURE),
    "R50-U-Net": lambda: R50UNet(**CONV, **UP),
    "R50-AttnUNet": lambda: R50AttnUNet(**CONV, **UP),
    "Segmenter": lambda: Segmenter(64, variant="ViT-S_16", **WIDTHS),
    "Segmenter, linear": lambda: Segmenter(64, variant="ViT-S_32", decoder="linear", **WIDTHS),
    "V-Net": VNet,
}
BUILT = {}


def built(name):
    """The network in ``eval()``, made once."""
    if name not in BUILT:
        torch.manual_seed(0)
        BUILT[name] = NETWORKS[name]().eval()
    return BUILT[name]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=12, deadline=None)
@given(height=st.integers(16, 300), width=st.integers(16, 300))
def test_any_height_and_width_comes_back(name, height, width):
    with torch.inference_mode():
        logits = built(name)(torch.zeros(1, 1, height, width))
    assert logits.shape == (1, 9, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(16, 16), (300, 300), (16, 300)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smallest_and_the_largest_come_back_too(name, size):
    with torch.inference_mode():
        assert built(name)(torch.zeros(1, 1, *size)).shape == (1, 9, *size)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_one_equals_its_row_in_a_batch(name):
    torch.manual_seed(0)
    images = torch.randn(3, 1, 48, 80)
    with torch.inference_mode():
        together = built(name)(images)
        for row, image in enumerate(images):
            torch.testing.assert_close(
                built(name)(image[None])[0], together[row], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("name", NETWORKS)
def test_in_eval_the_same_image_gives_the_same_logits(name):
    image = torch.randn(1, 1, 40, 56)
    with torch.inference_mode():
        assert torch.equal(built(name)(image), built(name)(image))


@pytest.mark.parametrize("name", NETWORKS)
def test_building_another_network_changes_none(name):
    image = torch.randn(1, 1, 48, 48)
    with torch.inference_mode():
        before = built(name)(image)
        TransUNet(variant="DeCAM", **HYBRID)
        for make in NETWORKS.values():
            make()
        torch.manual_seed(0)
        again = NETWORKS[name]().eval()
        assert torch.equal(built(name)(image), before)
        assert torch.equal(again(image), before)


@pytest.mark.parametrize("name", [n for n in NETWORKS if "Net" not in n or "Trans" in n])
def test_fused_and_explicit_attention_agree(name):
    torch.manual_seed(0)
    network, image = NETWORKS[name]().eval(), torch.randn(1, 1, 48, 80)
    with torch.inference_mode():
        fused = network(image)
        attentions = [m for m in network.modules() if hasattr(m, "fused")]
        assert attentions
        for attention in attentions:
            attention.fused = False
        torch.testing.assert_close(network(image), fused, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    (network(torch.randn(2, 1, 64, 64)) ** 2).mean().backward()
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.endswith("cls_token"):
            continue  # of a Segmenter's last block only the patches are read
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


def test_a_pure_vit_has_no_skips_whatever_is_asked_for():
    with torch.device("meta"):
        counts = {
            sum(p.numel() for p in TransUNet(variant="ViT-B_16", num_skips=n).parameters())
            for n in range(4)
        }
    assert counts == {91_674_201}


def test_naive_upsampling_gives_each_patch_one_class_score_and_enlarges_it():
    network = built("ViT-None")
    image = torch.randn(1, 1, 32, 48)
    with torch.inference_mode():
        scores = network.head(network.encoder.feature_map(image))
        assert scores.shape == (1, 9, 2, 3)
        expected = nn.functional.interpolate(scores, (32, 48), mode="bilinear")
        torch.testing.assert_close(network(image), expected)


def test_the_encoder_of_a_pure_vit_is_the_vit():
    network = built("ViT-CUP")
    vit = ViT(64, 3, 0, class_token=False, dropout=0.1, **WIDTHS)
    vit.load_state_dict(network.encoder.state_dict())
