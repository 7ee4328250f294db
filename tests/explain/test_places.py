import pytest
import torch

from medseg.explain.places import Places, places_of_tokens
from medseg.networks.transunet import TransUNet
from medseg.networks.transunet_3d import TransUNet3D
from medseg.networks.vit import ViT
from tests.explain import small


def test_the_tokens_of_a_transunet_are_centred_on_pixel_2_of_every_16():
    """By hand: 7×7 stride 2 at 2i, unpadded 3×3 pooling at 4i + 2, two strides more at 16i + 2."""
    places = places_of_tokens(small.made(small.transunet), small.images(1))
    assert places.step == pytest.approx((16, 16), abs=1e-3)
    assert places.shift == pytest.approx((2, 2), abs=1e-3)


def test_that_is_where_a_token_looks():
    network = TransUNet(96, 1, 2, **small.SIZES, **small.HYBRID).eval()
    features = []
    network.encoder.patch_embed.register_forward_hook(lambda *call: features.append(call[2]))
    image = torch.rand((8, 1, 96, 96), generator=torch.Generator().manual_seed(0)).requires_grad_()
    network(image)
    gradient = torch.autograd.grad(features[0][:, :, 3, 3].square().sum(), image)[0]
    weight = gradient.square().sum((0, 1))
    rows = float((weight.sum(1) * torch.arange(96)).sum() / weight.sum())
    assert rows == pytest.approx(16 * 3 + 2, abs=2)
    assert rows != pytest.approx(16 * 3 + 7.5, abs=2)


def test_the_tokens_of_a_transunet_for_volumes_are_centred_on_voxel_0_of_every_4():
    """By hand: each 3×3×3 convolution of stride 2 and padding 1 looks around voxel 2i."""
    sizes = {"hidden_size": 12, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    network = TransUNet3D((16, 24, 32), 1, 2, widths=(4, 8, 8), **sizes)
    places = places_of_tokens(network, torch.zeros(1, 1, 16, 24, 32))
    assert places.step == pytest.approx((4, 4, 4), abs=1e-3)
    assert places.shift == pytest.approx((0, 0, 0), abs=1e-3)


@pytest.mark.parametrize("sides", [(48, 80), (16, 24, 40)])
def test_the_tokens_of_a_vit_are_its_patches_in_2d_and_3d(sides):
    network = ViT(sides, 1, 2, patch_size=8, **small.SIZES)
    places = places_of_tokens(network, torch.zeros(1, 1, *sides))
    assert places.step == pytest.approx((8,) * len(sides), abs=1e-3)
    assert places.shift == pytest.approx((3.5,) * len(sides), abs=1e-3)


def test_a_map_is_that_of_the_token_at_its_centre_and_linear_between():
    tokens = torch.tensor([[[0.0, 4.0, 8.0]]])
    onto = Places((4, 4), (1, 2)).onto_image(tokens, (4, 12))[0, 0]
    expected = [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    torch.testing.assert_close(onto, torch.tensor(expected, dtype=torch.float32))


def test_a_region_is_shared_among_the_tokens_around_it():
    region = torch.zeros(1, 4, 12, dtype=torch.bool)
    region[0, 1, 3] = True  # a quarter of the way from the first to the second
    shares = Places((4, 4), (1, 2)).shares(region, (1, 3))
    torch.testing.assert_close(shares, torch.tensor([[[0.75, 0.25, 0.0]]]))


def test_finding_places_leaves_nothing_behind():
    network = small.made(small.transunet)
    places_of_tokens(network, small.images(1))
    assert not any(module._forward_hooks for module in network.modules())
