import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medseg.networks.layers.channels_last import Enlarge, InstanceNorm, Pointwise, channels_last


def is_channels_last(volume):
    return volume.is_contiguous(memory_format=torch.channels_last_3d)


def volume(*shape):
    torch.manual_seed(0)
    return channels_last(torch.randn(shape))


def gradients(layer, x):
    x = x.detach().requires_grad_()
    layer(x).square().sum().backward()
    return [x.grad, *[parameter.grad for parameter in layer.parameters()]]


def test_instance_norm_is_that_of_pytorch_with_its_gradient():
    ours, theirs, x = InstanceNorm(4), nn.InstanceNorm3d(4, affine=True), volume(3, 4, 5, 6, 7)
    for layer in (ours, theirs):
        with torch.no_grad():
            layer.weight.copy_(torch.arange(1.0, 5.0))
            layer.bias.copy_(torch.arange(4.0))
    torch.testing.assert_close(ours(x), theirs(x))
    for one, other in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_a_channel_of_one_voxel_becomes_its_shift():
    norm = InstanceNorm(4)
    nn.init.constant_(norm.bias, 2.0)
    shifted = norm.train()(volume(2, 4, 1, 1, 1))
    torch.testing.assert_close(shifted, torch.full((2, 4, 1, 1, 1), 2.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 1)])
def test_a_pointwise_convolution_is_a_convolution(stride):
    layer, x = Pointwise(4, 6, stride=stride), volume(2, 4, 5, 6, 7)
    torch.testing.assert_close(layer(x), F.conv3d(x, layer.weight, layer.bias, stride))


@pytest.mark.parametrize("scale", [(2, 2, 2), (2, 2, 1), (1, 3, 2)])
def test_enlarging_is_a_transposed_convolution(scale):
    layer, x = Enlarge(4, 6, scale=scale), volume(2, 4, 3, 4, 5)
    torch.testing.assert_close(layer(x), F.conv_transpose3d(x, layer.weight, stride=scale))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("make", [InstanceNorm, lambda c: Pointwise(c, 3),
                                  lambda c: Enlarge(c, 3, scale=(2, 2, 2))])  # fmt: skip
def test_the_layout_is_kept(make, channels):
    assert is_channels_last(make(channels)(volume(2, channels, 4, 5, 6)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_convolution_of_one_channel_gives_channels_last(dtype):
    conv = nn.Conv3d(1, 8, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        features = conv(volume(2, 1, 8, 9, 10))
    assert is_channels_last(features)
    assert features.dtype == dtype


def test_an_instance_norm_that_is_exported_takes_a_batch_of_any_size():
    norm, two, five = InstanceNorm(4).eval(), volume(2, 4, 5, 6, 7), volume(5, 4, 5, 6, 7)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(norm, (two,), dynamic_shapes=({0: batch},)).module()
        traced = torch.jit.trace(norm, two)
        for exported in (program, traced):
            torch.testing.assert_close(exported(five), norm(five), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(exported(five[:1]), norm(five[:1]), atol=1e-5, rtol=1e-5)
