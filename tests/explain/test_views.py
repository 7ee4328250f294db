import pytest
import torch

from medseg.errors import UsageError
from medseg.explain.views import (
    attention_distance,
    patch_filters,
    position_similarity,
    token_components,
)
from tests.explain import small
from tests.explain.test_reference import assert_near, image, network
from tests.networks.vit_reference import reference


def test_attention_distance_equals_the_reference_for_every_layer_and_head():
    found = attention_distance(network(), image(0))
    assert_near(found, reference("vit__w005__img0__attn_distance_px"), 1e-4)


def test_position_similarity_equals_the_reference():
    found = position_similarity(network(), image(0))
    assert_near(found, reference("vit__w005__posemb_cosine"), 1e-4)


@pytest.mark.parametrize("kind", ["learned_1d", "learned_2d", "sincos"])
@pytest.mark.parametrize("place", ["stem", "every_layer", "shared"])
def test_positions_of_every_kind_are_seen(kind, place):
    made = small.made(lambda: small.vit(positions=kind, positions_at=place))
    found = position_similarity(made, small.images(1))
    assert found.shape == (60, 60)
    torch.testing.assert_close(found.diagonal(), torch.ones(60))


def test_networks_without_positions_to_show_are_refused():
    made = small.made(lambda: small.vit(positions="relative"))
    with pytest.raises(UsageError, match="adds no position embedding"):
        position_similarity(made, small.images(1))
    with pytest.raises(UsageError, match="R50UNet has no transformer"):
        position_similarity(small.made(small.unet), small.images(1))


def test_the_first_filter_is_the_direction_in_which_the_filters_differ_most():
    made = small.made(small.vit)
    pattern = torch.rand(1, 8, 8) - 0.5
    with torch.no_grad():
        made.patch_embed.proj.weight.mul_(0.01)
        made.patch_embed.proj.weight.add_(torch.linspace(-1, 1, 24).view(-1, 1, 1, 1) * pattern)
    found = patch_filters(made, 5)
    assert found.shape == (5, 1, 8, 8)
    cosine = torch.nn.functional.cosine_similarity(found[0].flatten(), pattern.flatten(), dim=0)
    assert abs(float(cosine)) > 0.99
    assert torch.allclose(found.flatten(1) @ found.flatten(1).T, torch.eye(5), atol=1e-5)
    with pytest.raises(UsageError, match="made of features"):
        patch_filters(small.made(small.transunet))


def test_tokens_are_shown_as_their_principal_components():
    made = small.made(small.transunet)
    found = token_components(made, small.images(2))
    assert found.shape == (2, 3, 3, 5)
    assert float(found.min()) == 0
    assert float(found.max()) == 1
    spread = found.transpose(0, 1).flatten(1)
    off = torch.corrcoef(spread) - torch.eye(3)
    assert float(off.abs().max()) < 1e-3  # principal components are not correlated


def test_a_view_leaves_nothing_behind():
    made = small.made(small.transunet).train()
    attention_distance(made, small.images(1))
    token_components(made, small.images(1))
    assert all(module.training for module in made.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in made.modules())
    assert all(module.fused for module in made.modules() if hasattr(module, "fused"))
