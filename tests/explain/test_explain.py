import pytest
import torch
from torch import nn

from medseg.errors import ResourceError, UsageError
from medseg.explain import Options, Target, explain_network, find_method, method_names
from medseg.explain.reading import reading_attention
from tests.explain import small

ATTENTION = ("attention_gradient", "gradient_rollout", "raw", "rollout", "tiba")
ANY = ("grad_cam", "integrated_gradients", "occlusion", "random")
FEW = Options(steps=4, window=24)


def state(network):
    """All that an explanation must not change."""
    return {
        "training": [module.training for module in network.modules()],
        "fused": [module.fused for module in network.modules() if hasattr(module, "fused")],
        "hooks": [
            len(module._forward_hooks)
            + len(module._forward_pre_hooks)
            + len(module._backward_hooks)
            for module in network.modules()
        ],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "grad": [id(parameter.grad) for parameter in network.parameters()],
        "values": [float(value.double().sum()) for value in network.state_dict().values()],
    }


def test_every_method_stands_in_one_of_these_lists():
    assert sorted(ATTENTION + ANY) == method_names()


@pytest.mark.parametrize("method", ATTENTION + ANY)
@pytest.mark.parametrize("make", small.TRANSFORMERS)
def test_a_map_lies_on_the_image_and_a_batch_equals_its_rows(make, method):
    network, image = small.made(make), small.images()
    region = torch.cat([small.box(), small.box().roll(20, dims=1)])
    both = explain_network(network, image, Target(2, region=region), method=method, options=FEW)
    assert both.shape == (2, *small.IMAGE)
    assert both.isfinite().all()
    assert not both.requires_grad
    for index in range(2):
        target = Target(2, region=region[index : index + 1])
        one = explain_network(network, image[index : index + 1], target, method=method, options=FEW)
        tolerance = 1e-3 if method == "tiba" else 2e-4  # relevance divides by what may be near 0
        atol = tolerance * float(one.abs().max())
        torch.testing.assert_close(both[index], one[0], rtol=0, atol=atol)


@pytest.mark.parametrize("method", ATTENTION + ANY)
def test_nothing_is_left_behind(method):
    network = small.made(small.transunet)
    network.decoder.train()  # some parts of it only
    next(network.parameters()).requires_grad_(False)
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before = state(network)
    explain_network(
        network, small.images(1), Target(1, region=small.box()), method=method, options=FEW
    )
    assert state(network) == before


@pytest.mark.parametrize("method", [*ATTENTION, "grad_cam", "integrated_gradients", "occlusion"])
def test_nothing_is_left_behind_after_an_error(method):
    network = small.made(small.transunet).train()

    def fail(module, args):
        if torch.is_grad_enabled() or not network.encoder.blocks[0].attn.fused:
            raise RuntimeError("torn down")

    hook = network.decoder.register_forward_pre_hook(fail)
    before = state(network)
    if method == "occlusion":
        hook.remove()
        before = state(network)
        options = Options(baseline=float("nan"), window=1000)
        explain_network(network, small.images(1), Target(1), method=method, options=options)
    else:
        with pytest.raises(RuntimeError, match="torn down"):
            explain_network(network, small.images(1), Target(1), method=method, options=FEW)
    assert state(network) == before


def test_attention_is_read_on_the_readable_path_and_fused_again_after():
    network = small.made(small.transunet)
    with reading_attention(network) as reading:
        assert not any(module.fused for module in network.modules() if hasattr(module, "fused"))
        network(small.images(1))
    assert all(module.fused for module in network.modules() if hasattr(module, "fused"))
    assert reading.grid == (3, 5)
    assert [layer.name for layer in reading.layers] == [
        "encoder.blocks.0.attn", "encoder.blocks.1.attn"
    ]  # fmt: skip
    for layer in reading.layers:
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(1, 2, 15))


@pytest.mark.parametrize("method", [*ATTENTION, "grad_cam", "integrated_gradients"])
def test_frozen_networks_and_inference_mode_give_the_same_map(method):
    network, image = small.made(small.transunet), small.images(1)
    target = Target(1, region=small.box())
    expected = explain_network(network, image, target, method=method, options=FEW)
    network.requires_grad_(False)
    with torch.inference_mode():
        found = explain_network(network, small.images(1), target, method=method, options=FEW)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("tokens", [
    {}, {"distillation_token": True}, {"class_token": False},
    {"class_token": False, "distillation_token": True},
])  # fmt: skip
@pytest.mark.parametrize("method", [*ATTENTION, *ANY])
def test_classifiers_with_and_without_class_and_distillation_tokens(method, tokens):
    network = small.made(lambda: small.vit(**tokens))
    found = explain_network(network, small.images(), Target(1), method=method, options=FEW)
    assert found.shape == (2, *small.IMAGE)
    assert float(found.std()) > 0


def test_without_a_class_token_the_mean_row_of_the_regions_tokens_is_read():
    network, image = small.made(small.vit_cup), small.images(1)
    region = torch.zeros((1, *small.IMAGE), dtype=torch.bool)
    region[0, 23:25, 23:41] = True  # from the centre of the token in row 1 and column 1 to the next
    with torch.no_grad(), reading_attention(network) as reading:
        network(image)
    rows = reading.layers[-1].weights[0].mean(0)
    found = find_method("raw")(network, image, Target(1, region=region), Options())
    torch.testing.assert_close(found[0].flatten(), rows[6:8].mean(0), rtol=0, atol=1e-3)


def test_the_difference_between_two_classes_is_explained_too():
    network, image = small.made(small.transunet), small.images(1)
    one = explain_network(
        network, image, Target(1, against=2, region=small.box()), method="grad_cam"
    )
    other = explain_network(
        network, image, Target(2, against=1, region=small.box()), method="grad_cam"
    )
    assert not torch.allclose(one, other)


def test_the_region_is_where_the_network_finds_the_class_and_an_empty_one_has_no_map():
    logits = torch.zeros(1, 3, 4, 4)
    logits[0, 1, :2] = 1
    fixed = Target(1).fixed(logits)
    assert fixed.region[0, :2].all()
    assert not fixed.region[0, 2:].any()
    assert float(fixed.score(2 * logits)) == 2
    assert not Target(2).fixed(logits).region.any()
    network = small.made(small.transunet)
    with torch.no_grad():
        network.head.bias[3] = -1e6
    assert not explain_network(network, small.images(1), Target(3), method="rollout").any()


def test_relevance_starts_at_one_in_all():
    logits = torch.randn(2, 3, 4, 5)
    region = torch.rand(2, 4, 5) > 0.5
    start = Target(2, region=region).fixed(logits).start(logits)
    torch.testing.assert_close(start.flatten(1).sum(1), torch.ones(2))
    assert (start[:, 2] > 0).equal(region)


@pytest.mark.parametrize(("ask", "words"), [
    ({"method": "magic"}, "method must be one of .*tiba"),
    ({"options": Options(layer=2)}, "layer must be 0 to 1"),
    ({"method": "raw", "options": Options(layer=-1)}, "layer must be 0 to 1"),
    ({"method": "raw", "options": Options(head=2)}, "head must be 0 to 1"),
    ({"options": Options(heads="sum")}, "heads must be one of mean, max, min"),
    ({"options": Options(discard=1.0)}, "discard must be at least 0 and below 1"),
    ({"target": Target(4)}, "class must be 0 to 3"),
    ({"target": Target(1, region=torch.ones(1, 3, 3))}, r"region must have the shape .*\(48, 80\)"),
    ({"method": "grad_cam", "options": Options(module="nowhere")}, "no module 'nowhere'"),
])  # fmt: skip
def test_a_bad_request_says_what_is_possible(ask, words):
    network = small.made(small.transunet)
    with pytest.raises(UsageError, match=words):
        explain_network(network, small.images(1), **{"target": Target(1)} | ask)


def test_a_network_without_attention_is_refused_by_name():
    with pytest.raises(UsageError, match=r"R50UNet has no attention.*grad_cam"):
        explain_network(small.made(small.unet), small.images(1), Target(1), method="tiba")


@pytest.mark.parametrize("method", ANY)
def test_networks_without_attention_have_the_other_methods(method):
    target = Target(1, region=small.box())
    found = explain_network(
        small.made(small.unet), small.images(1), target, method=method, options=FEW
    )
    assert found.shape == (1, *small.IMAGE)
    assert float(found.std()) > 0


def test_attention_too_large_for_the_memory_allowed_is_refused_before_it_is_made():
    network, called = small.made(small.transunet), []
    network.encoder.blocks[0].attn.attend.register_forward_hook(lambda *_: called.append(1))
    with pytest.raises(ResourceError, match=r"2 layers of attention between 15 tokens take"):
        explain_network(network, small.images(1), Target(1), options=Options(most_bytes=1000.0))
    assert not called


def test_a_map_of_a_network_on_its_own_module_is_taken():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)
            self.head = nn.Conv2d(3, 2, 1)

        def forward(self, image):
            return self.head(self.relu(self.conv(image)))

    found = explain_network(
        Whole(), torch.rand(1, 1, 8, 8), Target(1, region=torch.ones(1, 8, 8, dtype=torch.bool)),
        method="grad_cam", options=Options(module="conv"),
    )  # fmt: skip
    assert found.shape == (1, 8, 8)
