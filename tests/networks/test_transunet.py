import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.transunet import VARIANTS, TransUNet
from tests.networks.original_keys import fill, original_shapes
from tests.shared import SHARED

REFERENCE = Path(__file__).parents[1] / "reference" / "transunet.npz"
KEYS = SHARED / "reference" / "transunet_state_dict_keys.json"
SMALL = {
    "hidden_size": 32, "mlp_dim": 48, "num_heads": 4, "num_layers": 2, "block_units": (1, 1, 1),
    "width_factor": 0.25, "decoder_channels": (32, 16, 16, 8, 8),
}  # fmt: skip
PUBLISHED = {  # configuration: arguments, parameters
    "R50-ViT-B_16_224_c9_skip3": ({}, 105_277_081),
    "R50-ViT-B_16_224_c9_skip0": ({"num_skips": 0}, 103_765_657),
    "R50-ViT-B_16_256_c4_skip1": (
        {"image_size": 256, "num_classes": 4, "num_skips": 1}, 104_990_660),
    "R50-ViT-L_16_224_c9_skip3": ({"variant": "R50-ViT-L_16"}, 324_024_729),
    "DeCAM_222_256_c1_skip3": (
        {"image_size": 256, "num_classes": 1, "variant": "DeCAM"}, 16_657_809),
    "DeCAM_333_256_c1_skip3": (
        {"image_size": 256, "num_classes": 1, "variant": "DeCAM", "block_units": (3, 3, 3)},
        18_125_457),
    "DeCAM_222_128_c1_skip3": (
        {"image_size": 128, "num_classes": 1, "variant": "DeCAM"}, 16_584_081),
}  # fmt: skip


def small(**changes):
    torch.manual_seed(0)
    return TransUNet(**{"image_size": 64, "num_classes": 3} | SMALL | changes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_of_parameters_is_the_published_one(name):
    arguments, parameters = PUBLISHED[name]
    with torch.device("meta"):
        network = TransUNet(**arguments)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.skipif(not KEYS.is_file(), reason=f"needs {KEYS}")
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_weight_of_the_original_has_its_place(name):
    with torch.device("meta"):
        network = TransUNet(**PUBLISHED[name][0])
    entries = json.loads(KEYS.read_text())[name]["state_dict"]
    assert original_shapes(network) == {key: tuple(shape) for key, shape in entries.items()}


LARGE = pytest.param("R50-ViT-B_16_224_c9_skip0", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["DeCAM_222_128_c1_skip3", LARGE])
def test_equals_the_original_inside_and_out(name):
    network = TransUNet(**PUBLISHED[name][0]).eval()
    fill(network)
    taps = _taps(network)
    with np.load(REFERENCE) as reference:
        shape = reference[f"{name}/logits_shape"]
        image = np.random.RandomState(0).standard_normal((1, 1, *shape[2:])).astype(np.float32)
        with torch.inference_mode():
            logits = network(torch.from_numpy(image))

        assert logits.shape == tuple(shape)
        expected = reference[f"{name}/logits"]
        step = shape[2] // expected.shape[2]
        np.testing.assert_allclose(logits[..., ::step, ::step], expected, rtol=0, atol=2e-5)
        np.testing.assert_allclose(_stats(logits), reference[f"{name}/logits_stats"], rtol=1e-4)
        assert len(taps) == 11
        for tap, value in taps.items():
            stats, first = reference[f"{name}/tap_{tap}"], reference[f"{name}/tap_{tap}_first32"]
            np.testing.assert_allclose(_stats(value), stats, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(value.flatten()[:32], first, rtol=1e-4, atol=1e-3)


def _taps(network):
    """What the network's parts give, filled as it runs; features inside reach the hundreds."""
    taps = {}

    def tap(module, name):
        module.register_forward_hook(lambda *call: taps.update({name: call[2]}))

    def backbone(module, args, output):
        taps["resnet"] = output[0]
        taps.update({f"skip{index}": skip for index, skip in enumerate(output[1])})

    network.backbone.register_forward_hook(backbone)
    tap(network.encoder.patch_embed.proj, "patch_embed")
    tap(network.encoder.norm, "encoded")
    tap(network.decoder.stem, "conv_more")
    for index, block in enumerate(network.decoder.blocks):
        tap(block, f"dec{index}")
    return taps


def _stats(value):
    value = value.double()
    return [value.mean(), value.std(), value.min(), value.max(), value.abs().sum()]


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (50, 70), (96, 33), (16, 64)])
@pytest.mark.parametrize("image_size", [64, [64, 48]])
def test_logits_have_the_size_of_the_image_whatever_it_is(image_size, size):
    logits = small(image_size=image_size)(torch.randn(2, 1, *size))
    assert logits.shape == (2, 3, *size)


def test_a_side_that_is_no_multiple_of_16_is_padded_with_zeros_and_cropped():
    network, image = small(image_size=(40, 64)).eval(), torch.randn(1, 1, 40, 64)
    padded = torch.cat([image, torch.zeros(1, 1, 8, 64)], dim=2)
    torch.testing.assert_close(network(image), network(padded)[:, :, :40])


@pytest.mark.parametrize("in_channels", [1, 2, 3, 5, 7])
def test_any_number_of_channels_goes_in(in_channels):
    network = small(in_channels=in_channels)
    stem = 3 if in_channels == 1 else in_channels
    assert network.backbone.root[0].weight.shape[1] == stem
    assert network(torch.randn(2, in_channels, 64, 64)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("num_skips", [0, 1, 2, 3])
def test_gradients_reach_every_parameter(num_skips):
    network = small(num_skips=num_skips)
    (network(torch.randn(2, 1, 64, 64)) ** 2).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name


def test_two_networks_of_one_seed_are_equal_and_deterministic_in_eval():
    image = torch.randn(1, 1, 64, 64)
    first, second = small().eval(), small().eval()
    assert torch.equal(first(image), second(image))
    assert torch.equal(first(image), first(image))


def test_dropout_makes_training_random():
    network, image = small(dropout=0.5), torch.randn(2, 1, 64, 64)
    assert not torch.equal(network(image), network(image))


def test_fused_attention_equals_an_explicit_softmax():
    network, image = small().eval(), torch.randn(1, 1, 64, 64)
    fused = network(image)
    for block in network.encoder.blocks:
        block.attn.fused = False
    torch.testing.assert_close(network(image), fused)


def test_bf16_autocast_and_channels_last_stay_close():
    network, image = small().eval(), torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        plain = network(image)
        last = network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            last(image.contiguous(memory_format=torch.channels_last)), plain, atol=1e-4, rtol=1e-4
        )
        with torch.autocast("cpu", torch.bfloat16):
            half = network(image)
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).abs().mean() < 0.05 * plain.abs().mean()


def test_it_learns_a_shape_in_a_few_steps():
    network = small(dropout=0.0)
    label = torch.zeros(2, 64, 64, dtype=torch.long)
    label[0, 10:40, 20:50], label[1, 30:60, 5:35] = 1, 2
    image = label[:, None] * 0.5 + 0.1 * torch.randn(2, 1, 64, 64)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(image), label)
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_the_last_norm_has_an_epsilon_of_one_millionth():
    assert small().encoder.norm.eps == 1e-6


def test_the_decam_study_has_no_dropout_and_the_others_a_tenth():
    assert VARIANTS["DeCAM"].dropout == 0.0
    assert {sizes.dropout for name, sizes in VARIANTS.items() if name != "DeCAM"} == {0.1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "R50"}, "variant must be one of R50-ViT-B_8.*got 'R50'"),
        ({"num_skips": 4}, "num_skips must be 0 to 3, got 4"),
        ({"num_classes": 0}, "num_classes must be 1 or more, got 1 and 0"),
        ({"hidden_size": 100, "num_heads": 12}, "multiple of num_heads, got 100 and 12"),
        ({"num_layers": 0}, "num_layers must be 1 or more, got 0"),
        ({"block_units": (3, 4)}, r"block_units must be 3 counts.*\(3, 4\)"),
        ({"decoder_channels": (256, 128, 64, 16)}, "decoder_channels must be 5 counts"),
        ({"width_factor": 0.001}, "width_factor must be at least 1/64, got 0.001"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"image_size": (224, 224, 64)}, r"one or two sides, got \(224, 224, 64\)"),
        ({"image_size": 8}, r"sides of 16 or more, got \(8, 8\)"),
        ({"patch_size": 14}, "patch_size must be one of 8, 16, 32 after .* got 14"),
        ({"decoder": "UNet"}, "decoder must be one of CUP, naive, got 'UNet'"),
        ({"positions": "rope"}, "positions must be one of none, learned_1d.*got 'rope'"),
    ],
)
def test_error_names_the_size_that_does_not_fit(arguments, message):
    with pytest.raises(UsageError, match=message):
        TransUNet(**arguments)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 64, 64)])
def test_error_names_the_shape_of_an_image_that_does_not_fit(shape):
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\), got \(1, "):
        small()(torch.zeros(shape))


@pytest.mark.parametrize("num_classes", [1, 9])
def test_an_untrained_network_expects_background_almost_everywhere(num_classes):
    network = small(num_classes=num_classes).eval()
    with torch.no_grad():
        probabilities = network(torch.randn(2, 1, 64, 64)).sigmoid().mean(dim=(0, 2, 3))
    organs = probabilities if num_classes == 1 else probabilities[1:]
    assert (organs < 0.15).all()
    if num_classes > 1:
        assert probabilities[0] > 0.85
