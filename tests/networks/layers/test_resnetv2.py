import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medseg.networks.layers.resnetv2 import ResNetV2, StdConv2d, group_norm


def test_weights_are_standardised_with_the_biased_variance():
    conv = StdConv2d(2, 1, kernel_size=1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1))  # mean 2, biased variance 1
    scale = 1.00001**-0.5
    torch.testing.assert_close(conv.standardised().flatten(), torch.tensor([-scale, scale]))


def test_a_network_of_three_channels_takes_one_as_if_it_were_repeated():
    torch.manual_seed(0)
    network, image = ResNetV2(3, (1, 1, 1), width_factor=0.25), torch.randn(2, 1, 64, 64)
    one, skips_of_one = network(image)
    three, skips_of_three = network(image.repeat(1, 3, 1, 1))
    torch.testing.assert_close(one, three, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(skips_of_one, skips_of_three, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 64), (48, 16)])
def test_features_and_skips_have_the_announced_shapes(height, width):
    network = ResNetV2(3, (1, 2, 1), width_factor=0.25)
    features, skips = network(torch.randn(2, 3, height, width))
    assert features.shape == (2, network.out_channels, height // 16, width // 16)
    for skip, channels, step in zip(skips, network.skip_channels, (8, 4, 2), strict=True):
        assert skip.shape == (2, channels, height // step, width // step)


def test_only_the_skip_at_a_quarter_is_padded_with_zeros_at_bottom_and_right():
    _, (eighth, quarter, half) = ResNetV2(3, (1, 1, 1))(torch.randn(1, 3, 64, 64))
    assert not quarter[:, :, -1].any()
    assert not quarter[:, :, :, -1].any()
    for skip in (eighth, quarter[:, :, :-1, :-1], half):
        assert skip[:, :, -1].any()
        assert skip[:, :, :, -1].any()


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(64, 32), (128, 32), (192, 32), (1024, 32), (96, 16), (48, 8), (32, 16), (16, 8), (5, 1)],
)
def test_groups_are_32_at_published_widths_and_hold_two_channels_at_small_ones(channels, groups):
    assert group_norm(channels).num_groups == groups


def test_norms_have_the_published_epsilons():
    network = ResNetV2(3, (2, 1, 1))
    norms = {name: m for name, m in network.named_modules() if isinstance(m, nn.GroupNorm)}
    assert len(norms) == 1 + 4 * 3 + 3
    for name, norm in norms.items():
        projects = name.endswith("gn_proj")
        assert norm.eps == (1e-5 if projects else 1e-6)
        assert norm.num_groups == (norm.num_channels if projects else 32)


def test_a_unit_adds_before_the_last_activation():
    unit = ResNetV2(3, (2, 1, 1)).block1[1]
    nn.init.zeros_(unit.gn3.weight)
    nn.init.zeros_(unit.gn3.bias)
    x = torch.randn(1, 256, 4, 4)
    torch.testing.assert_close(unit(x), F.relu(x))
