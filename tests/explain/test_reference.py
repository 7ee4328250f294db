"""Held against numbers that published code gave for the same weights and images."""

import pytest
import torch

from medseg.explain import Options, Target, find_method
from medseg.explain.reading import reading_attention
from medseg.networks.vit import ViT
from tests.networks.vit_reference import drawn, fill, reference

SIZES = {"hidden_size": 48, "mlp_dim": 192, "num_heads": 3, "num_layers": 3, "patch_size": 8}


def network(dtype=torch.float32):
    made = fill(ViT(32, 3, 5, **SIZES), 0.05).eval().to(dtype)
    made.norm.eps = 1e-5
    return made


def image(number, dtype=torch.float32):
    return drawn(f"image{number}", (1, 3, 32, 32)).to(dtype)


def tokens(method, number=0, channel=0, dtype=torch.float32, **options):
    found = find_method(method)(
        network(dtype), image(number, dtype), Target(channel), Options(**options)
    )
    return found[0].detach()


def assert_near(found, expected, tolerance):
    found = found.reshape(expected.shape).to(expected.dtype)
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("channel", [0, 3])
@pytest.mark.parametrize("number", [0, 1])
def test_tiba_equals_the_published_code(number, channel, first):
    expected = reference(f"vit__w005__img{number}__tiba_class{channel}_start{first}")
    assert_near(tokens("tiba", number, channel, layer=first), expected, 5e-3)


@pytest.mark.parametrize("channel", [0, 3])
@pytest.mark.parametrize("number", [0, 1])
def test_tiba_in_float64_is_nearer_still(number, channel):
    expected = reference(f"vit__w005__img{number}__tiba_f64_class{channel}_start0")
    assert_near(tokens("tiba", number, channel, torch.float64), expected, 1e-3)


@pytest.mark.parametrize("discard", [0.0, 0.5])
@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rollout_equals_the_reference_relative_to_its_maximum(heads, discard):
    found = tokens("rollout", heads=heads, discard=discard)
    expected = reference(f"vit__w005__img0__rowfixed_rollout_{heads}_d{discard}")
    assert_near(found / found.max(), expected, 1e-4)


@pytest.mark.parametrize("first", [0, 1])
def test_rollout_may_start_at_a_later_layer(first):
    expected = reference(f"vit__w005__img0__chefer_rollout_norm_start{first}")
    assert_near(tokens("rollout", layer=first), expected, 1e-4)


@pytest.mark.parametrize("channel", [0, 3])
def test_gradient_rollout_equals_the_reference(channel):
    found = tokens("gradient_rollout", channel=channel)
    expected = reference(f"vit__w005__img0__rowfixed_gradrollout_class{channel}")
    assert_near(found / found.max(), expected, 1e-4)


@pytest.mark.parametrize("channel", [0, 3])
def test_attention_times_gradient_equals_the_reference(channel):
    expected = reference(f"vit__w005__img0__attgrad_paper_class{channel}")
    assert_near(tokens("attention_gradient", channel=channel), expected, 1e-4)


def test_raw_attention_equals_the_reference_for_every_layer_and_head():
    expected = reference("vit__w005__img0__attn")  # (layers, heads, N, N)
    for layer in range(3):
        for head in range(3):
            found = tokens("raw", layer=layer, head=head)
            assert_near(found, expected[layer, head, 0, 1:], 1e-4)
    assert_near(tokens("raw"), reference("vit__w005__img0__raw_cls_last_layer"), 1e-4)


def test_gradients_of_attention_are_the_published_ones():
    made = network()
    with reading_attention(made) as reading:
        logits = made(image(0))
    found = torch.autograd.grad(logits[0, 3], [layer.weights for layer in reading.layers])
    assert_near(torch.cat(found), reference("vit__w005__img0__attn_grad_class3"), 1e-3)
