import pytest
import torch
from monai.networks import nets
from torch import nn

from medseg.errors import UsageError
from medseg.networks.hierarchical_3d import HierarchicalViT3D
from medseg.networks.meta import (
    activation_bytes,
    allowed_sizes,
    fits,
    flops,
    on_meta,
    optimizer_bytes,
    weight_bytes,
)
from medseg.networks.segmenter import Segmenter
from medseg.networks.transunet import TransUNet
from medseg.networks.transunet_3d import TransUNet3D
from medseg.networks.vit_3d import ViTCUP3D
from medseg.networks.vnet import VNet
from tests.networks.published import SMALL


def two_convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 3, padding=1, bias=False)
    )


class OneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 1, 24, 24))

    def forward(self, image):
        return image + self.places


def test_a_multiply_add_counts_as_two():
    products = 8 * 8 * 9 * (1 * 2 + 2 * 3)  # pixels, taps, channels in times channels out
    assert flops(on_meta(two_convolutions), (1, 1, 8, 8)) == 2 * products


def test_transunet_has_the_published_flops_and_attention_is_counted():
    """58.45 GFLOP was measured on the original, which convolves three equal channels."""
    network = on_meta(lambda: TransUNet(in_channels=3))
    assert flops(network, (1, 3, 224, 224)) / 1e9 == pytest.approx(58.45, abs=0.005)
    products = 12 * 2 * 2 * 196 * 196 * 768  # layers, two products, 2 a multiply-add
    small = on_meta(lambda: nn.Sequential(*network.encoder.blocks))
    linear = 12 * 196 * 2 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert flops(small, (1, 196, 768)) == products + linear


def test_activations_are_each_storage_once_without_the_weights():
    network = on_meta(two_convolutions)
    image, hidden = 4 * 64, 4 * 2 * 64  # the ReLU's output is the next convolution's input
    assert activation_bytes(network, (1, 1, 8, 8)) == image + hidden
    assert activation_bytes(network, (5, 1, 8, 8)) == 5 * (image + hidden)


def test_optimizers_remember_as_much_as_they_do_for_real():
    network = on_meta(two_convolutions)
    count = sum(p.numel() for p in network.parameters())
    assert weight_bytes(network) == 4 * count
    steps = 4 * len(list(network.parameters()))
    for optimizer, expected in (
        (torch.optim.AdamW(network.parameters(), lr=1e-3), 8 * count + steps),
        (torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9), 4 * count),
        (torch.optim.SGD(network.parameters(), lr=0.1), 0),
    ):
        assert optimizer_bytes(optimizer) == expected


@pytest.mark.parametrize(
    ("build", "size", "multiple", "least"),
    [
        (lambda: TransUNet(image_size=64, **SMALL), (64, 64), 1, 1),
        (lambda: nets.BasicUNet(2, 1, 3, features=(4,) * 6, norm="batch"), (96, 96), 1, 16),
        (lambda: nets.UNet(2, 1, 3, channels=(4, 8, 16), strides=(2, 2)), (96, 64), 4, 8),
        (lambda: nets.SegResNet(2, init_filters=8, in_channels=1), (64, 64), 8, 8),
        (lambda: nets.AttentionUnet(2, 1, 3, channels=(4, 8), strides=(2,)), (32, 32), 2, 2),
    ],
    ids=["TransUNet", "BasicUNet", "UNet", "SegResNet", "AttentionUnet"],
)
def test_the_sizes_said_to_be_allowed_are_those_that_run_for_real(build, size, multiple, least):
    found = allowed_sizes(on_meta(build), 1, size)
    assert found == {"multiple": multiple, "least": least, "unequal": True}
    network = build().eval()

    def runs(*sides):
        try:
            with torch.inference_mode():
                return network(torch.zeros(1, 1, *sides)).shape[2:] == sides
        except (RuntimeError, ValueError):
            return False

    assert runs(least, least)
    assert runs(least + 3 * multiple, least + 5 * multiple)
    assert least == multiple == 1 or not runs(least - 1, least - 1)
    if multiple > 1:
        assert not runs(least + multiple + 1, least + multiple + 1)


def test_a_network_of_one_size_is_said_to_be_one():
    assert allowed_sizes(on_meta(OneSize), 1, (24, 24))["multiple"] == 0


def test_why_an_input_does_not_fit_is_said():
    assert "channel" in fits(on_meta(two_convolutions), (1, 2, 8, 8))
    assert "output has size (7, 7)" in fits(on_meta(lambda: nn.Conv2d(1, 1, 2)), (1, 1, 8, 8))
    assert fits(on_meta(two_convolutions), (1, 1, 8, 8)) == ""


def test_a_network_that_computes_while_it_is_built_is_built_for_real():
    def build():
        count = int(torch.ones(3).sum().item())  # cannot be known on the meta device
        return nn.Conv2d(1, count, 1)

    network = on_meta(build)
    assert network.weight.device.type == "meta"
    assert network.out_channels == 3


def test_wrong_sizes_are_the_networks_own_error():
    with pytest.raises(UsageError, match="num_heads"):
        on_meta(lambda: Segmenter(hidden_size=10, num_heads=3))


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (TransUNet3D, 8_731_337),
        (lambda: TransUNet3D(encoder="r50", widths=(16, 32, 64, 128, 256)), 30_649_657),
        (ViTCUP3D, 16_113_513),
        (HierarchicalViT3D, 3_027_049),
    ],
)
def test_networks_for_volumes_are_counted_without_computing(make, parameters):
    network = on_meta(make)
    assert all(one.is_meta for one in network.parameters())
    assert sum(one.numel() for one in network.parameters()) == parameters
    assert not fits(network, (1, 1, 40, 56, 40))
    assert allowed_sizes(network, 1, (48, 48, 48)) == {"multiple": 1, "least": 1, "unequal": True}


def test_checkpointing_and_deep_supervision_are_counted():
    def kept(**changes):
        network = on_meta(lambda: TransUNet3D((40, 56, 40), 1, 3, **changes))
        return activation_bytes(network, (2, 1, 40, 56, 40))

    plain = kept()
    assert kept(checkpointing=True) < plain / 4
    assert plain < kept(deep_supervision=True) < 1.05 * plain


PEERS = {
    "U-Net": lambda: nets.UNet(3, 1, 3, channels=(16, 32, 64), strides=(2, 2), num_res_units=2),
    "DynUNet": lambda: nets.DynUNet(
        3, 1, 3, kernel_size=[3] * 3, strides=[1, 2, 2], upsample_kernel_size=[2, 2]
    ),
    "SegResNet": lambda: nets.SegResNet(3, 8, 1, 3),
    "UNETR": lambda: nets.UNETR(1, 3, img_size=(48, 64, 48), hidden_size=96, num_heads=6),
    "SwinUNETR": lambda: nets.SwinUNETR(in_channels=1, out_channels=3, feature_size=12),
    "V-Net": lambda: VNet(1, 3, spatial_dims=3),
}
TAKES = {"UNETR": (48, 64, 48), "SwinUNETR": (64, 64, 32)}


@pytest.mark.parametrize("name", PEERS)
def test_the_peers_of_monai_take_patches_of_volumes(name):
    if name in TAKES:
        pytest.importorskip("einops", reason="MONAI's UNETR and SwinUNETR need einops")
    network = on_meta(PEERS[name])
    assert not fits(network, (1, 1, *TAKES.get(name, (40, 56, 40))))
    assert bool(fits(network, (1, 1, 40, 56, 40))) == (name in TAKES)
