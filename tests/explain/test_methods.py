"""Methods that need no attention, held against other programs and against properties."""

import copy
import warnings

import pytest
import torch
from monai.visualize import GradCAM
from torch import nn

from medseg.explain import Options, Target, explain_network, find_method
from medseg.explain.rolling import discard_lowest, fuse_heads, placed, rolled
from tests.explain import small

METHODS = (
    "attention_gradient", "grad_cam", "gradient_rollout", "integrated_gradients", "occlusion",
    "raw", "rollout", "tiba",
)  # fmt: skip


class ScoreOf(nn.Module):
    """A network with its target as a classifier of one class, which MONAI understands."""

    def __init__(self, network, target):
        super().__init__()
        self.network, self.target = network, target

    def forward(self, image):
        return self.target.score(self.network(image))[:, None]


@pytest.mark.parametrize(("make", "module"), [
    (small.unet, "decoder.stem"), (small.transunet, "decoder.stem"), (small.vit_cup, "head"),
])  # fmt: skip
def test_grad_cam_equals_monais_up_to_its_scale(make, module):
    network, image = small.made(make), small.images(1)
    target = Target(1, region=small.box())
    found = find_method("grad_cam")(network, image, target, Options(module=module))
    whole = ScoreOf(copy.deepcopy(network), target)
    theirs = GradCAM(whole, f"network.{module}", postprocessing=lambda x: x, upsampler=lambda x: x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.compute_map(image, class_idx=0)[:, 0].detach()
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected.clamp(min=0), rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize(("make", "module"), [
    (small.unet, "decoder.stem.2"), (small.transunet, "decoder.stem.2"),
])  # fmt: skip
def test_grad_cam_takes_the_last_features_at_the_coarsest_resolution(make, module):
    network, image = small.made(make), small.images(1)
    target = Target(1, region=small.box())
    chosen = explain_network(network, image, target, method="grad_cam")
    named = explain_network(
        network, image, target, method="grad_cam", options=Options(module=module)
    )
    torch.testing.assert_close(chosen, named)


def test_integrated_gradients_of_a_linear_network_are_weights_times_image():
    network, image = nn.Conv2d(1, 2, 1), torch.rand(1, 1, 8, 8)
    region = torch.ones(1, 8, 8, dtype=torch.bool)
    found = explain_network(network, image, Target(1, region=region), method="integrated_gradients")
    expected = (network.weight[1, 0] * image[:, 0] / 64).abs().detach()
    torch.testing.assert_close(found, expected)


def test_occlusion_of_a_linear_network_is_what_a_patch_holds():
    network, image = nn.Conv2d(1, 2, 1), torch.rand(1, 1, 8, 8)
    region = torch.zeros(1, 8, 8, dtype=torch.bool)
    region[0, :4, :4] = True
    found = explain_network(
        network, image, Target(0, region=region), method="occlusion", options=Options(window=1)
    )
    expected = (network.weight[0, 0] * image[:, 0] / 16 * region).detach()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_every_method_change_when_weights_are_randomised(method):
    """Adebayo et al. 2018: what survives random weights explains the image, not the network."""
    image, target = small.images(1), Target(1, region=small.box())
    options = Options(steps=4, window=24)
    one, other = (
        explain_network(small.made(small.transunet, seed), image, target, method=method,
                        options=options)
        for seed in (0, 1)
    )  # fmt: skip
    together = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
    assert float(together) < 0.95
    again = explain_network(small.made(small.transunet), image, target, method=method,
                            options=options)  # fmt: skip
    torch.testing.assert_close(again, one)


def test_the_control_is_random_and_repeatable():
    network, image = small.made(small.unet), small.images(2)
    target = Target(1, region=small.box())
    maps = [
        explain_network(network, image, target, method="random", options=Options(seed=seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
    assert torch.equal(maps[0][0], maps[0][1])


def times(matrices):
    return [lambda rows, one=one: (rows[:, None] @ one)[:, 0] for one in matrices]


def test_layers_multiply_from_the_last_to_the_first():
    first, last = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    rows, nothing = torch.tensor([[1.0, 0.0]]), torch.zeros(2, 1, 2)
    assert rolled(rows, times([first, last]), list(nothing)).tolist() == [[0.0, 1.0]]
    assert rolled(rows, times([last, first]), list(nothing)).tolist() == [[0.5, 0.5]]


def test_what_tokens_keep_of_themselves_past_all_layers_is_left_out():
    gains, kept = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4)
    rows, whole = torch.rand(1, 4), torch.eye(4)
    for gain, share in zip(gains, kept, strict=True):
        whole = (gain[0] + share[0].diag()) @ whole
    expected = rows @ whole - rows * kept.prod(0)
    torch.testing.assert_close(rolled(rows, times(gains), list(kept)), expected)
    tiny = rolled(rows, times(1e-12 * gains), list(torch.ones(3, 1, 4)))
    torch.testing.assert_close(
        tiny, 1e-12 * (rows[:, None] @ gains.sum(0))[:, 0], rtol=1e-5, atol=0
    )


def test_the_smallest_weights_are_discarded_for_each_image_of_the_batch():
    matrix = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]]])
    kept = discard_lowest(matrix, 0.5, keep_first=False)
    assert kept.tolist() == [[[0, 0], [3, 4]], [[4, 3], [0, 0]]]
    assert discard_lowest(matrix, 0.5, keep_first=True)[0].tolist() == [[1, 0], [3, 4]]


def test_heads_are_joined_and_layers_of_other_tokens_placed():
    weights = torch.tensor([[[[0.2, 0.8], [0.6, 0.4]], [[0.4, 0.6], [0.0, 1.0]]]])
    assert fuse_heads(weights, "max")[0, 0].tolist() == pytest.approx([0.4, 0.8])
    assert fuse_heads(weights, "min")[0, 1].tolist() == pytest.approx([0.0, 0.4])
    mean = fuse_heads(weights, "mean")
    assert mean[0, 0].tolist() == pytest.approx([0.3, 0.7])
    assert placed(mean[:, 0], 1, 4)[0].tolist() == pytest.approx([0, 0.3, 0.7, 0])
