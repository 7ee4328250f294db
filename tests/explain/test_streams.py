"""Attention whose matrices are made a few columns at a time, or never, and the same maps."""

import sys

import pytest
import torch

from medseg.errors import ResourceError, UsageError
from medseg.explain import Options, Target, explain_network
from medseg.explain import flow as flow_module
from medseg.explain.joined import Joined
from medseg.explain.reading import reading_attention
from medseg.explain.rolling import discard_lowest, fuse_heads
from medseg.explain.views import attention_distance
from medseg.networks.hierarchical_3d import HierarchicalViT3D
from medseg.networks.transunet_3d import TransUNet3D
from medseg.networks.vit_3d import ViTCUP3D
from tests.explain.test_explain import ANY, ATTENTION

KINDS = ("dense", "windowed", "window_grid", "axial", "plane_depth", "block_sparse")
SIZES = {"hidden_size": 12, "mlp_dim": 16, "num_heads": 3, "num_layers": 2, "window": 3}
VOLUME = (16, 24, 20)


def made(kind, network=TransUNet3D):
    torch.manual_seed(0)
    network = network(VOLUME, 1, 3, widths=(4, 6, 8), attention=kind, **SIZES).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("attn.qkv.weight"):
                parameter.mul_(20)
    return network


def volume():
    return torch.rand((1, 1, *VOLUME), generator=torch.Generator().manual_seed(0))


def target():
    region = torch.zeros((1, *VOLUME), dtype=torch.bool)
    region[:, 4:9, 10:20, 3:8] = True
    return Target(1, region=region)


WAYS = [
    ("attention_gradient", Options()), ("tiba", Options()), ("raw", Options(heads="min")),
    ("raw", Options(head=1, layer=1)), ("rollout", Options()), ("rollout", Options(heads="max")),
    ("rollout", Options(discard=0.9)), ("gradient_rollout", Options(discard=0.9)),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_maps_are_the_same_however_few_columns_are_made_at_once(kind, monkeypatch):
    network, image = made(kind), volume()
    ask = [
        lambda method=method, options=options: explain_network(
            network, image, target(), method=method, options=options
        )
        for method, options in WAYS
    ]
    monkeypatch.setattr(flow_module.Joined, "pulled", placed_whole)
    whole = [one() for one in ask]
    monkeypatch.undo()
    monkeypatch.setattr(flow_module, "WHOLE_BYTES", 4 * 3 * 120 * 4 * 7)  # seven columns
    for (method, options), one, expected in zip(WAYS, ask, whole, strict=True):
        atol = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(one(), expected, rtol=0, atol=atol, msg=f"{method} {options}")


def placed_whole(self, rows):
    """The product with the matrix that every head's numbers make, placed as a whole."""
    block = self.layer.columns(self.parts, slice(None))
    block = block if self.head is None else block[:, self.head, None]
    matrix = fuse_heads(block, self.heads)
    matrix = matrix.clamp(min=0) if self.positive else matrix
    matrix = discard_lowest(matrix, self.discard, keep_first=self.keep_first)
    return (rows[:, None] @ matrix)[:, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_sums_and_products_are_those_of_the_placed_weights(kind):
    network = made(kind)
    with torch.no_grad(), reading_attention(network) as reading:
        network(volume())
    layer = reading.layers[1]
    parts = [part * torch.rand_like(part) for part in layer.parts]
    whole = layer.columns(parts, slice(None)).mean(dim=1)
    rows = torch.rand(1, 120)
    for columns in (120, 50, 7):
        joined = Joined(layer, parts, columns)
        found = torch.cat([block for _, block in joined.blocks()], dim=-1)
        torch.testing.assert_close(found, whole)
        torch.testing.assert_close(joined.sums(), whole.sum(-1))
        torch.testing.assert_close(joined.pulled(rows), rows @ whole[0])
        left = joined.without_lowest(0.95, keep_first=False)
        found = torch.cat([block for _, block in left.blocks()], dim=-1)
        torch.testing.assert_close(found, discard_lowest(whole, 0.95, keep_first=False))


def test_a_pattern_takes_less_memory_than_its_matrix_and_is_refused_beyond_that():
    image, layers, matrix = volume(), 2, 3 * 120**2 * 4
    groups = 3 * 2 * 2 * 3 * 27**2 * 4  # as few windows of at most 3 as a grid of 4, 6, 5 takes
    allowed = Options(most_bytes=3.0 * layers * groups)
    assert groups < matrix * 2
    found = explain_network(made("windowed"), image, target(), options=allowed)
    assert float(found.std()) > 0
    with pytest.raises(ResourceError, match="2 layers of attention between 120 tokens take"):
        explain_network(made("dense"), image, target(), options=Options(most_bytes=2.0 * matrix))
    with pytest.raises(ResourceError, match="2 layers of attention between 120 tokens take"):
        explain_network(made("axial"), image, target(), options=Options(most_bytes=1e3))


@pytest.mark.parametrize("kind", ["windowed", "block_sparse"])
def test_distances_are_those_of_the_placed_weights(kind, monkeypatch):
    network = made(kind)
    expected = attention_distance(network, volume())
    monkeypatch.setattr(sys.modules["medseg.explain.views"], "COLUMNS", 11)
    torch.testing.assert_close(attention_distance(network, volume()), expected)


@pytest.mark.parametrize("method", ATTENTION + ANY)
def test_vit_cup_for_volumes_is_explained_and_a_batch_equals_its_rows(method):
    network, image = made("windowed", ViTCUP3D), torch.cat([volume(), volume().flip(2)])
    options = Options(steps=2, window=12)
    both = explain_network(network, image, target(), method=method, options=options)
    assert both.shape == (2, *VOLUME)
    one = explain_network(network, image[1:], target(), method=method, options=options)
    torch.testing.assert_close(both[1:], one, rtol=0, atol=1e-3 * float(one.abs().max()))


def test_regions_that_attend_apart_are_refused_and_told_what_explains_them():
    sizes = {"hidden_size": 12, "mlp_dim": 16, "num_heads": 2, "num_layers": (1, 1)}
    network = HierarchicalViT3D(
        (16, 16, 32), 1, 2, region_size=8, widths=(4, 8), **sizes
    ).eval()  # fmt: skip
    image = torch.rand(1, 1, 16, 16, 32)
    region = torch.ones(1, 16, 16, 32, dtype=torch.bool)
    with pytest.raises(UsageError, match=r"HierarchicalViT3D: .* apart; grad_cam"):
        explain_network(network, image, Target(1, region=region), method="tiba")
    for method in ANY:
        found = explain_network(
            network, image, Target(1, region=region), method=method,
            options=Options(steps=2, window=16),
        )  # fmt: skip
        assert found.shape == (1, 16, 16, 32)
