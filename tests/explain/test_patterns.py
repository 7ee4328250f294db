"""Attention in a pattern, placed among all tokens; with the kinds of attention that there are."""

import pytest
import torch
from torch import nn

from medseg.explain import Target, explain_network
from medseg.explain.patterns import mixing_by
from medseg.explain.reading import attention_layers, reading_attention
from tests.explain.test_explain import ATTENTION


class Halves(nn.Module):
    """Attention within each half of the tokens."""

    def __init__(self):
        super().__init__()
        self.fused = True
        self.attend = nn.Softmax(dim=-1)

    def forward(self, q, k, v, _grid):
        q, k, v = (part.unflatten(1, (2, -1)).transpose(2, 3) for part in (q, k, v))
        products = q @ k.transpose(-2, -1)  # (B, 2, M, N/2, N/2)
        weights = products.softmax(-1) if self.fused else self.attend(products)
        return (weights @ v).transpose(2, 3).flatten(1, 2)


class InPattern(nn.Module):
    """Self-attention of one layer in a pattern."""

    def __init__(self):
        super().__init__()
        self.num_heads = 2
        self.qkv = nn.Linear(8, 24)
        self.pattern = Halves()

    def forward(self, tokens, grid):
        q, k, v = self.qkv(tokens).unflatten(-1, (3, 2, 4)).unbind(2)
        return tokens + self.pattern(q, k, v, grid).flatten(2)


class Network(nn.Module):
    """Patches of 4 pixels, two layers, a class for each pixel."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, 8, 4, stride=4)
        self.blocks = nn.ModuleList(InPattern() for _ in range(2))
        self.head = nn.ConvTranspose2d(8, 3, 4, stride=4)

    def forward(self, image):
        patches = self.patch_embed(image)
        tokens = patches.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, tuple(patches.shape[2:]))
        return self.head(tokens.transpose(1, 2).reshape(patches.shape))


def made():
    torch.manual_seed(0)
    return Network().eval(), torch.rand(2, 1, 16, 8)


def test_weights_of_a_pattern_lie_where_its_tokens_are():
    pattern = Halves()
    q, k = torch.randn(2, 3, 8, 2, 4).unbind(0)
    parts = (q.unflatten(1, (2, 4)).transpose(2, 3)) @ k.unflatten(1, (2, 4)).permute(0, 1, 3, 4, 2)
    whole = mixing_by(pattern, q, k, (8,))([parts], torch.eye(8))
    assert whole.shape == (3, 2, 8, 8)
    assert not whole[:, :, :4, 4:].any()
    assert not whole[:, :, 4:, :4].any()
    torch.testing.assert_close(whole[:, :, :4, :4], parts[:, 0])
    torch.testing.assert_close(whole[:, :, 4:, 4:], parts[:, 1])
    assert pattern.fused
    assert not pattern.attend._forward_hooks


def test_a_layer_in_a_pattern_is_one_layer_whatever_softmaxes_it_has():
    network, image = made()
    assert list(attention_layers(network)) == ["blocks.0", "blocks.1"]
    with torch.no_grad(), reading_attention(network) as reading:
        network(image)
    for layer in reading.layers:
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(2, 2, 8))
    assert network.blocks[0].pattern.fused


@pytest.mark.parametrize("method", ATTENTION)
def test_methods_explain_networks_with_attention_in_a_pattern(method):
    network, image = made()
    region = torch.zeros(1, 16, 8, dtype=torch.bool)
    region[:, :4, :4] = True  # the first token
    found = explain_network(network, image, Target(1, region=region), method=method)
    assert found.shape == (2, 16, 8)
    assert found[:, :6].max() > 0
    assert not found[:, 10:].any()  # tokens of the other half say nothing to it
    one = explain_network(network, image[1:], Target(1, region=region), method=method)
    torch.testing.assert_close(found[1:], one, rtol=1e-4, atol=1e-6 * float(one.max()))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    "kind", ["windowed", "window_grid", "axial", "plane_depth", "block_sparse"]
)
def test_placed_weights_mix_values_as_the_layer_does(kind, axes):
    attention = pytest.importorskip("medseg.networks.layers.attention")
    torch.manual_seed(0)
    grid = (5, 6, 4)[:axes]
    layer = attention.make_attention(kind, 12, 3, axes=axes, window=3, layer_index=1).eval()
    tokens = torch.randn(2, grid[0] * grid[1] * (4 if axes == 3 else 1), 12)
    with torch.no_grad(), reading_attention(layer) as reading:
        expected = layer(tokens, grid)
    weights = reading.layers[0].weights
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
    values = layer.qkv(tokens).unflatten(-1, (3, 3, 4))[:, :, 2].transpose(1, 2)
    mixed = (weights @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer.proj(mixed), expected, rtol=1e-4, atol=1e-5)
    seen = torch.from_numpy(layer.mask_of(grid).copy())
    assert torch.equal((weights > 0).all(0), seen)
