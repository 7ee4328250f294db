import pytest
import torch

from medseg.errors import UsageError
from medseg.networks.layers.positions import KINDS, PLACES
from medseg.networks.vit import ViT
from tests.networks.vit_reference import drawn, fill, reference, settings

SMALL = {"hidden_size": 24, "mlp_dim": 32, "num_heads": 2, "num_layers": 2, "patch_size": 8}
REFERENCE = {"hidden_size": 48, "mlp_dim": 192, "num_heads": 3, "num_layers": 3, "patch_size": 8}
CHOICES = [
    (kind, place) for kind in KINDS for place in PLACES if (kind, place) != ("relative", "stem")
]


def small(**changes):
    torch.manual_seed(0)
    arguments = {"image_size": 32, "in_channels": 1, "num_classes": 5} | SMALL | changes
    return ViT(**arguments).eval()


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({"variant": "ViT-B_16"}, 86_567_656),
        ({"variant": "ViT-L_16"}, 304_326_632),
        ({"variant": "ViT-H_14"}, 632_045_800),
        ({"variant": "ViT-B_16", "distillation_token": True}, 87_338_192),
    ],
)
def test_the_count_of_parameters_is_the_published_one(arguments, parameters):
    with torch.device("meta"):
        network = ViT(**arguments)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("image", [0, 1])
def test_logits_and_attention_equal_the_published_codes(image):
    network = ViT(32, 3, 5, **REFERENCE)
    assert {name: list(v.shape) for name, v in network.state_dict().items()} == settings()[
        "state_dict_keys"
    ]
    fill(network, 0.05).eval()
    network.norm.eps = 1e-5
    seen = []
    for block in network.blocks:
        block.attn.fused = False
        block.attn.attend.register_forward_hook(lambda *call: seen.append(call[2]))
    logits = network(drawn(f"image{image}", (1, 3, 32, 32)))
    expected = reference(f"vit__w005__img{image}__logits")
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    attention = reference(f"vit__w005__img{image}__attn")
    torch.testing.assert_close(torch.cat(seen), attention, rtol=0, atol=1e-5)


def test_gradients_reach_the_attention_weights_on_the_readable_path():
    network = fill(ViT(32, 3, 5, **REFERENCE), 0.05).eval()
    network.norm.eps = 1e-5
    seen = []

    def keep(module, args, output):
        output.retain_grad()
        seen.append(output)

    for block in network.blocks:
        block.attn.fused = False
        block.attn.attend.register_forward_hook(keep)
    network(drawn("image0", (1, 3, 32, 32)))[0, 0].backward()
    expected = reference("vit__w005__img0__attn_grad_class0")
    found = torch.cat([weights.grad for weights in seen])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("kind", "place"), CHOICES)
def test_fused_and_explicit_attention_agree_for_every_kind_of_position(kind, place):
    network, image = small(positions=kind, positions_at=place), torch.randn(2, 1, 24, 40)
    fused = network(image)
    for block in network.blocks:
        block.attn.fused = False
    torch.testing.assert_close(network(image), fused, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "place"), CHOICES)
def test_every_learned_number_gets_a_gradient(kind, place):
    network = small(positions=kind, positions_at=place, distillation_token=True)
    image = torch.randn(2, 1, 32, 32)
    (network(image).square().sum() + network.feature_map(image).square().sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("class_token", [True, False])
def test_without_positions_the_encoder_does_not_care_for_the_order_of_patches(class_token):
    network = small(positions="none", class_token=class_token)
    order = torch.randperm(16)
    patches = torch.randn(1, 1, 16, 8, 8)
    one, other = (
        network.encode(p.unflatten(2, (4, 4)).permute(0, 1, 2, 4, 3, 5).reshape(1, 1, 32, 32))
        for p in (patches, patches[:, :, order])
    )
    extra = int(class_token)
    torch.testing.assert_close(other[:, extra:], one[:, extra:][:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(other[:, :extra], one[:, :extra], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "place"), [c for c in CHOICES if c[0] != "none"])
def test_with_positions_it_does(kind, place):
    network = small(positions=kind, positions_at=place)
    for name, table in network.named_parameters():
        if name.startswith("pos_embed") or ".attn." in name:
            table.data.mul_(20)  # untrained tables hardly speak
    image = torch.randn(1, 1, 32, 32)
    turned = image.roll(8, dims=3)
    one, other = network.feature_map(image), network.feature_map(turned)
    assert not torch.allclose(other, one.roll(1, dims=3), atol=1e-3)


def test_relative_positions_know_offsets_only():
    network = small(positions="relative", class_token=False)
    biases = network._places((4, 4))[1]
    bias = biases[0][0, 0]  # (16, 16), between tokens 4 rows of 4
    assert bias[0, 5] == bias[5, 10] == bias[10, 15]  # one down, one right
    assert bias[5, 0] == bias[15, 10] != bias[0, 5]
    assert not torch.equal(biases[0], biases[1])  # each layer has its own


def test_shared_positions_are_one_table_and_those_of_every_layer_are_several():
    assert small(positions_at="shared").pos_embed.shape == (1, 17, 24)
    assert len(small(positions_at="every_layer").pos_embed) == 2


def test_positions_in_two_dimensions_are_a_row_and_a_column_side_by_side():
    network = small(image_size=(16, 24), positions="learned_2d", class_token=False)
    table = network.pos_embed[0]  # two rows, three columns
    places = network._places((2, 3))[0][0][0]
    for row in range(2):
        for column in range(3):
            expected = torch.cat([table[row], table[2 + column]])
            assert torch.equal(places[3 * row + column], expected)


def test_sine_and_cosine_positions_are_those_of_the_first_transformer():
    places = small(positions="sincos", class_token=False)._places((1, 3))[0][0][0]
    columns = places[:, 12:]  # the second axis
    frequencies = 10000 ** (-torch.arange(6) / 6)
    torch.testing.assert_close(columns[2, :6], torch.sin(2 * frequencies))
    torch.testing.assert_close(columns[2, 6:], torch.cos(2 * frequencies))


@pytest.mark.parametrize("distillation_token", [False, True])
@pytest.mark.parametrize("class_token", [False, True])
def test_volumes_and_images_of_other_sizes_go_in(class_token, distillation_token):
    tokens = {"class_token": class_token, "distillation_token": distillation_token}
    for kind, place in CHOICES:
        volumes = small(
            image_size=(16, 16, 24), positions=kind, positions_at=place, patch_size=8, **tokens
        )
        assert volumes(torch.randn(2, 1, 16, 20, 33)).shape == (2, 5)
        assert volumes.feature_map(torch.randn(2, 1, 16, 20, 33)).shape == (2, 24, 2, 3, 5)


def test_a_distilled_network_answers_with_the_mean_of_two_heads_and_trains_each():
    network, image = small(distillation_token=True), torch.randn(3, 1, 32, 32)
    first, second = network.forward_heads(image)
    assert not torch.equal(first, second)
    torch.testing.assert_close(network(image), (first + second) / 2)


def test_without_classes_it_gives_what_the_head_would_read():
    network, image = small(num_classes=0), torch.randn(2, 1, 32, 32)
    assert torch.equal(network(image), network.encode(image)[:, 0])
    network = small(num_classes=0, class_token=False)
    torch.testing.assert_close(network(image), network.encode(image).mean(1))


def test_attention_drops_weights_in_training_only():
    network, image = small(attention_dropout=0.5), torch.randn(1, 1, 32, 32)
    assert torch.equal(network(image), network(image))
    for fused in (True, False):
        for block in network.train().blocks:
            block.attn.fused = fused
        assert not torch.equal(network(image), network(image))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "ViT-G_14"}, "variant must be one of ViT-Ti_8.*got 'ViT-G_14'"),
        ({"positions": "rope"}, "positions must be one of none.*got 'rope'"),
        ({"positions_at": "end"}, "positions_at must be one of stem.*got 'end'"),
        ({"positions": "relative", "positions_at": "stem"}, "every_layer or shared, got 'stem'"),
        ({"positions": "sincos", "hidden_size": 26}, "multiple of 4 for positions 'sincos'"),
        ({"patch_size": 0}, "patch_size must be 1 or more, got 0"),
        ({"image_size": (64,)}, r"two or three sides of 8 or more, got \(64,\)"),
        ({"attention_dropout": 1.0}, "at least 0 and below 1, got 1.0"),
        ({"num_classes": -1}, "num_classes 0 or more, got 1 and -1"),
    ],
)
def test_error_names_what_does_not_fit(arguments, message):
    with pytest.raises(UsageError, match=message):
        small(**arguments)
