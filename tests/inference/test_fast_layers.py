import copy

import pytest
import torch
from torch import nn

from medseg.inference.fast_layers import FastGroupNorm, PackedLinear, Standardised, has_onednn
from medseg.networks.layers.resnetv2 import StdConv2d


@pytest.mark.parametrize(("channels", "groups", "side"), [(64, 32, 40), (32, 32, 20), (48, 3, 9)])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_is_that_of_float64(channels, groups, side, affine):
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, channels, affine=affine)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    images = (5 + 10 * torch.randn(2, channels, side, side)).contiguous(
        memory_format=torch.channels_last
    )
    exact = copy.deepcopy(norm).double()(images.double())
    found = FastGroupNorm(norm)(images)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=4e-6)
    rounded = FastGroupNorm(norm)(images.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.double(), exact, rtol=0.02, atol=0.05)


def test_group_norm_of_an_empty_image_is_its_bias():
    norm = nn.GroupNorm(2, 4)
    nn.init.normal_(norm.bias)
    expected = norm.bias.detach().view(1, 4, 1, 1).expand(1, 4, 3, 3)
    torch.testing.assert_close(FastGroupNorm(norm)(torch.zeros(1, 4, 3, 3)), expected)


@pytest.mark.skipif(not has_onednn(), reason="no oneDNN here")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 12), (2, 7, 12), (2, 3, 4, 12)])
def test_a_packed_linear_layer_is_that_of_float64(bias, shape):
    torch.manual_seed(0)
    linear, tokens = nn.Linear(12, 20, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        exact = copy.deepcopy(linear).double()(tokens.double())
        found = PackedLinear(linear)(tokens)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6)


def test_one_channel_through_a_stem_of_three_is_that_channel_repeated():
    torch.manual_seed(0)
    stem, image = StdConv2d(3, 8, kernel_size=7, stride=2), torch.randn(2, 1, 20, 20)
    with torch.inference_mode():
        found, expected = Standardised(stem)(image), stem(image.repeat(1, 3, 1, 1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
