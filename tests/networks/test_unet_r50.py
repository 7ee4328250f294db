import pytest
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.transunet import TransUNet
from medseg.networks.unet_r50 import R50AttnUNet, R50UNet

SMALL = {"block_units": (1, 1, 1), "width_factor": 0.125, "decoder_channels": (16, 8, 8, 8, 8)}


@pytest.mark.parametrize("network", [R50UNet, R50AttnUNet])
def test_the_encoder_is_that_of_transunet(network):
    ours = network(**SMALL).backbone.state_dict()
    sizes = {"hidden_size": 8, "mlp_dim": 8, "num_heads": 1, "num_layers": 1}
    theirs = TransUNet(image_size=32, **sizes, **SMALL).backbone.state_dict()
    assert {name: v.shape for name, v in ours.items()} == {n: v.shape for n, v in theirs.items()}


def test_an_open_gate_leaves_a_plain_u_net():
    torch.manual_seed(0)
    gated, plain = R50AttnUNet(**SMALL).eval(), R50UNet(**SMALL).eval()
    plain.load_state_dict({n: v for n, v in gated.state_dict().items() if ".gate." not in n})
    image = torch.randn(1, 1, 32, 48)
    assert not torch.allclose(gated(image), plain(image))
    for block in gated.decoder.blocks:
        if block.gate is not None:
            nn.init.constant_(block.gate.psi[1].bias, 100.0)  # of the norm before the sigmoid
    torch.testing.assert_close(gated(image), plain(image))


def test_a_closed_gate_keeps_the_skips_out():
    torch.manual_seed(0)
    network = R50AttnUNet(**SMALL).eval()
    gates = [block.gate for block in network.decoder.blocks]
    assert [gate is not None for gate in gates] == [True, True, True, False]
    for gate in gates[:3]:
        nn.init.constant_(gate.psi[1].bias, -100.0)
    image = torch.randn(1, 1, 32, 32)
    features, skips = network.backbone(image.expand(-1, 3, -1, -1))
    without = network.head(network.decoder(features, [torch.zeros_like(s) for s in skips]))
    torch.testing.assert_close(network(image), without)


def test_monais_resnet_50_gives_features_at_five_scales():
    network = R50UNet(encoder="ResNet50").eval()
    features, skips = network.backbone(torch.randn(1, 3, 64, 96))
    assert features.shape == (1, 2048, 2, 3)
    assert [skip.shape[1:] for skip in skips] == [
        (1024, 4, 6), (512, 8, 12), (256, 16, 24), (64, 32, 48)
    ]  # fmt: skip
    assert network(torch.randn(1, 1, 50, 70)).shape == (1, 9, 50, 70)


def test_one_channel_is_what_three_equal_ones_are():
    torch.manual_seed(0)
    network, image = R50UNet(**SMALL).eval(), torch.randn(1, 1, 32, 32)
    three = R50UNet(3, **SMALL).eval()
    three.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(image), three(image.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "VGG"}, "encoder must be one of ResNetV2, ResNet50, got 'VGG'"),
        ({"in_channels": 0}, "in_channels must be 1 or more, got 0"),
        ({"num_classes": 0}, "num_classes must be 1 or more, got 0"),
        ({"block_units": (1, 1)}, r"block_units must be 3 counts.*\(1, 1\)"),
        ({"decoder_channels": (8, 8)}, r"decoder_channels must be 5 counts.*\(8, 8\)"),
        ({"width_factor": 0}, "width_factor must be at least 1/64, got 0"),
    ],
)
def test_error_names_what_does_not_fit(arguments, message):
    with pytest.raises(UsageError, match=message):
        R50UNet(**SMALL | arguments)


@pytest.mark.parametrize("network", [R50UNet, R50AttnUNet])
def test_error_names_the_shape_of_an_image_that_does_not_fit(network):
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\), got \(1, 3, 32, 32\)"):
        network(**SMALL)(torch.zeros(1, 3, 32, 32))
