"""Ways to the decoder: of a network made by hand, and of real ones."""

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet, UNet
from torch import nn

from medseg.errors import UsageError
from medseg.explain import Target
from medseg.explain.skips import ways_of
from medseg.networks.transunet_3d import TransUNet3D
from tests.explain import small

SHARES = (1.0, 2.0, 5.0)  # of the bottom, the coarse and the fine skip


class Join(nn.Module):
    """Repeats what comes from below and adds a skip."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, below, skip):
        return nn.functional.interpolate(below, scale_factor=2) + self.share * skip


class Sum(nn.Module):
    """The logit of class 1 is a weighted sum of the image at three resolutions."""

    def __init__(self):
        super().__init__()
        self.joins = nn.ModuleList(Join(share) for share in SHARES[1:])

    def forward(self, image):
        half = nn.functional.avg_pool2d(image, 2)
        below = SHARES[0] * nn.functional.avg_pool2d(image, 4)
        found = self.joins[1](self.joins[0](below, half), image)
        return torch.cat([torch.zeros_like(found), found], dim=1)


def test_each_way_is_worth_what_it_adds_to_the_sum():
    """By hand: in a cell of the coarsest grid all three ways show the same mean."""
    image = torch.zeros(2, 1, 8, 8)
    image[0, :, :4, :4] = 1  # one of four cells: its mean over the image is 1/4
    image[1, :, :4] = 2  # two of four: 2 of a mean of 1
    region = torch.zeros(1, 8, 8, dtype=torch.bool)
    region[:, :4, :4] = True
    ways = ways_of(Sum(), image, Target(1, region=region))
    assert [way.name for way in ways] == ["bottom", "joins.0", "joins.1"]
    assert [way.grid for way in ways] == [(2, 2), (4, 4), (8, 8)]
    for way, share in zip(ways, SHARES, strict=True):
        torch.testing.assert_close(way.drop, share * torch.tensor([0.75, 1.0]))
        torch.testing.assert_close(way.share, torch.full((2,), share / 8))
        torch.testing.assert_close(way.alone, torch.full((2,), share / 8))
    assert ways[2].dice.tolist() == pytest.approx([2 * 16 / (16 + 64), 2 * 32 / (32 + 64)])


def names_of(network, image, channels=4):
    region = torch.zeros(1, *image.shape[2:], dtype=torch.bool)
    region[:, 4:9, 5:12] = True
    before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    ways = ways_of(network, image, Target(1, region=region))
    after = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    assert before == after
    assert all(torch.stack([way.drop, way.dice]).isfinite().all() for way in ways)
    return [way.name for way in ways]


def test_the_skips_of_every_u_shaped_network_are_seen():
    blocks = [f"decoder.blocks.{n}" for n in range(3)]
    assert names_of(small.made(small.transunet), small.images()) == ["bottom", *blocks]
    assert names_of(small.made(small.unet), small.images()) == ["bottom", *blocks]
    sizes = {"widths": (4, 6, 8), "hidden_size": 12, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    volume = torch.rand(1, 1, 16, 16, 16)
    network = TransUNet3D(16, 1, 3, **sizes)
    assert names_of(network, volume) == ["bottom", "decoder.blocks.0", "decoder.blocks.1"]


def test_the_skips_of_monais_networks_are_seen():
    image = torch.rand(1, 1, 32, 32)
    basic = BasicUNet(2, 1, 3, features=(4, 4, 4, 4, 4, 4))
    assert names_of(basic, image) == ["bottom", "upcat_4", "upcat_3", "upcat_2", "upcat_1"]
    unet = UNet(2, 1, 3, channels=(4, 4, 4), strides=(2, 2))
    assert len(names_of(unet, image)) == 3  # two levels
    dyn = DynUNet(2, 1, 3, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 4, 4])
    assert len(names_of(dyn, image)) == 3


def test_a_connection_without_its_skip_has_only_what_comes_from_below():
    torch.manual_seed(0)
    unet = UNet(2, 1, 2, channels=(4, 8), strides=(2,), num_res_units=0).eval()
    image, region = torch.rand(1, 1, 16, 16), torch.ones(1, 16, 16, dtype=torch.bool)
    bottom, skip = ways_of(unet, image, Target(1, region=region))
    down, connection, up = unet.model
    with torch.no_grad():
        own = down(image)
        below = connection.submodule(own)
        flat = own.mean(dim=(2, 3), keepdim=True).expand_as(own)
        whole, without = (up(torch.cat([x, below], 1))[:, 1].mean() for x in (own, flat))
    torch.testing.assert_close(skip.drop[0], whole - without)
    assert bottom.name == "bottom"


def test_networks_without_skips_say_so():
    with pytest.raises(UsageError, match="TransUNet has no skips"):
        ways_of(small.made(small.vit_cup), small.images(1), Target(1, region=small.box()))
