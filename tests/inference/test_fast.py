import copy

import pytest
import torch
from monai.networks.nets import BasicUNet, UNet
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from medseg.inference.fast import prepare
from medseg.networks.layers.resnetv2 import StdConv2d
from medseg.networks.segmenter import Segmenter
from medseg.networks.transunet import TransUNet
from medseg.networks.unet_r50 import R50AttnUNet, R50UNet
from medseg.networks.vnet import VNet

WIDTHS = {"hidden_size": 32, "mlp_dim": 48, "num_heads": 2, "num_layers": 2}
CONV = {"block_units": (1, 1, 1), "width_factor": 0.25}
UP = {"decoder_channels": (16, 16, 8, 8, 8)}
NETWORKS = {
    "TransUNet": lambda: TransUNet(64, **WIDTHS, **CONV, **UP),
    "ViT-CUP": lambda: TransUNet(64, variant="ViT-B_16", **WIDTHS, **UP),
    "Segmenter": lambda: Segmenter(64, **WIDTHS),
    "R50-U-Net": lambda: R50UNet(**CONV, **UP),
    "R50-AttnUNet": lambda: R50AttnUNet(**CONV, **UP),
    "V-Net": VNet,
    "MONAI's U-Net": lambda: BasicUNet(2, 1, 9, norm="batch", features=(8, 8, 8, 16, 16, 8)),
}
CHAIN = (
    nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.Dropout(0.5),
    nn.Sequential(nn.BatchNorm2d(6), nn.ReLU()),
    nn.ConvTranspose2d(6, 4, 2, stride=2), nn.BatchNorm2d(4), nn.GroupNorm(2, 4),
)  # fmt: skip
OTHERS = {
    "a chain of layers": (lambda: nn.Sequential(*CHAIN), (2, 3, 9, 11)),
    "MONAI's residual U-Net": (
        lambda: UNet(2, 1, 3, (8, 16, 32), (2, 2), num_res_units=1, norm="batch"), (2, 1, 32, 32)
    ),
    "MONAI's U-Net in 3D": (
        lambda: BasicUNet(3, 1, 2, norm="batch", features=(4,) * 6), (1, 1, 16, 16, 16)
    ),
    "torch's own transformer": (
        lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (2, 9, 16)
    ),
}  # fmt: skip


def used(name):
    """A network whose batch norms have seen something."""
    torch.manual_seed(0)
    return settled(NETWORKS[name]())


def settled(network):
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_prepared_copy_gives_the_same_logits(name):
    network, images = used(name), torch.randn(2, 1, 64, 48)
    with torch.inference_mode():
        expected, found = network(images), prepare(network)(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_so_does_the_copy_of_any_other_network(name):
    torch.manual_seed(0)
    build, shape = OTHERS[name]
    network, images = settled(copy.deepcopy(build())), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(prepare(network)(images), network(images), rtol=0, atol=1e-4)


def test_norms_keep_their_float32_weights_and_images_are_laid_out_with_channels_last():
    fast = prepare(used("TransUNet"), dtype=torch.bfloat16)
    norms = [m for m in fast.modules() if isinstance(m, (nn.LayerNorm, nn.GroupNorm))]
    assert all(norm.weight.dtype == torch.float32 for norm in norms)
    convs = [m for m in fast.modules() if isinstance(m, nn.Conv2d)]
    assert len(norms) > 5
    assert len(convs) > 5
    assert all(c.weight.dtype == torch.bfloat16 for c in convs)
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convs)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_itself_stays_as_it_is(name):
    network = used(name).train()
    before, structure = copy.deepcopy(network.state_dict()), str(network)
    for copied in (prepare(network, dtype=torch.bfloat16), prepare(network)):
        assert not any(module.training for module in copied.modules())
    assert network.training
    assert str(network) == structure
    assert all(parameter.requires_grad for parameter in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
        assert value.is_contiguous(), key


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_in_bfloat16_the_logits_stay_close_and_come_out_as_float32(name, autocast):
    network, images = used(name), torch.randn(2, 1, 64, 48)
    with torch.inference_mode():
        expected = network(images)
        found = prepare(network, dtype=torch.bfloat16, autocast=autocast)(images)
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.1 * expected.abs().mean()


def test_nothing_is_left_to_standardise_or_to_normalise_by_batch_in_transunet():
    fast = prepare(used("TransUNet"))
    kinds = {type(module) for module in fast.modules()}
    assert StdConv2d not in kinds
    assert nn.BatchNorm2d not in kinds


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_stems_of_one_and_of_several_channels(channels):
    torch.manual_seed(0)
    network = TransUNet(64, channels, **WIDTHS, **CONV, **UP).eval()
    images = torch.randn(1, channels, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(prepare(network)(images), network(images), rtol=1e-4, atol=1e-4)


def test_a_norm_that_is_used_twice_is_not_folded():
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
    nn.init.constant_(norm.running_var, 4.0)
    network = nn.Sequential(nn.Sequential(conv, norm), nn.Sequential(nn.Conv2d(1, 1, 1), norm))
    images = torch.randn(1, 1, 4, 4)
    with torch.inference_mode():
        torch.testing.assert_close(prepare(network.eval())(images), network(images))


def test_layers_with_hooks_are_copied_as_they_are():
    network, seen = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval(), []
    network[1].register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.inference_mode():
        prepare(network)(torch.randn(1, 1, 5, 5))
    assert len(seen) == 1


def test_a_norm_after_an_activation_is_not_folded_into_the_convolution():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2)).eval()
    nn.init.constant_(network[2].running_mean, 0.5)
    images = torch.randn(1, 1, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(prepare(network)(images), network(images))


class Layouts(TorchDispatchMode):
    """Notes the operators that are given or give images that are not laid out channels last."""

    def __init__(self):
        super().__init__()
        self.others = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        found = operator(*args, **(kwargs or {}))
        given = [*args, *(args[0] if isinstance(args[0], (list, tuple)) else ()), found]
        images = [image for image in given if isinstance(image, torch.Tensor) and image.ndim == 4]
        for image in images:
            last = image.is_contiguous(memory_format=torch.channels_last)
            if min(image.shape[1:]) > 8 and not last:
                self.others.append((str(operator), tuple(image.shape), image.stride()))
        return found


@pytest.mark.parametrize("size", [64, 96])
def test_images_stay_laid_out_with_channels_last_all_the_way(size):
    torch.manual_seed(0)
    fast = prepare(TransUNet(size, **WIDTHS, block_units=(1, 1, 1), **UP))
    with torch.no_grad(), Layouts() as seen:
        fast(torch.randn(2, 1, size, size))
    assert not seen.others
