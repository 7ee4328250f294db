import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from medseg.explain import Target, explain_network
from medseg.explain.faithfulness import (
    agreement,
    curves_of,
    points_at,
    randomised,
    share_within,
)
from tests.explain import small


class Sees(nn.Module):
    """Is sure of class 1 everywhere as far as one pixel of the image is bright."""

    def forward(self, image):
        bright = image[:, :, 2:3, 3:4].expand(-1, 1, *image.shape[2:])
        return torch.cat([-20 * (bright - 0.5), 20 * (bright - 0.5)], dim=1)


IMAGE = torch.ones(1, 1, 4, 5)
TARGET = Target(1, region=torch.ones(1, 4, 5, dtype=torch.bool))


def map_of(value):
    importance = torch.arange(20.0).view(1, 4, 5) / 100
    importance[0, 2, 3] = value
    return importance


def test_the_right_map_has_the_best_curves_and_its_opposite_the_worst():
    right = curves_of(Sees(), IMAGE, TARGET, map_of(1.0), steps=20)
    assert right.deletion.tolist() == pytest.approx([1] + 20 * [0], abs=1e-6)
    assert right.insertion.tolist() == pytest.approx([0] + 20 * [1], abs=1e-6)
    assert right.areas == pytest.approx((0.025, 0.975), abs=1e-6)
    wrong = curves_of(Sees(), IMAGE, TARGET, map_of(-1.0), steps=20)
    assert wrong.areas == pytest.approx((0.975, 0.025), abs=1e-6)


def test_ties_are_broken_at_random_and_repeatably():
    flat = torch.zeros(1, 4, 5)
    areas = [curves_of(Sees(), IMAGE, TARGET, flat, seed=seed).areas[0] for seed in range(30)]
    assert len(set(areas)) > 3
    assert np.mean(areas) == pytest.approx(0.5, abs=0.15)
    assert curves_of(Sees(), IMAGE, TARGET, flat, seed=3).areas[0] == areas[3]


def test_the_pointing_game_and_the_share_within():
    importance = torch.tensor([[[1.0, 5.0], [-4.0, 2.0]]])
    label = torch.tensor([[False, True], [False, False]])
    assert points_at(importance, label)
    assert not points_at(-importance, label)
    assert share_within(importance[0], label) == pytest.approx(5 / 8)
    assert np.isnan(share_within(torch.zeros(2, 2), label))


def test_agreement_is_spearmans_rank_correlation():
    one, other = (torch.from_numpy(x) for x in np.random.default_rng(0).integers(0, 9, (2, 6, 7)))
    expected = spearmanr(one.flatten(), other.flatten()).statistic
    assert agreement(one, other) == pytest.approx(expected)
    assert np.isnan(agreement(one, torch.ones(6, 7)))


def test_weights_are_randomised_part_by_part_from_the_output_on():
    network = small.made(small.transunet)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    target = Target(1, region=small.box())
    expected = explain_network(network, small.images(1), target, method="tiba")
    names, found = [], []
    for name, changed in randomised(network):
        names.append(name)
        found.append(explain_network(changed, small.images(1), target, method="tiba"))
        for parameter, value in changed.named_parameters():
            ours = before[parameter].flatten().sort().values
            assert torch.equal(value.detach().flatten().sort().values, ours)
    assert names == ["head", "decoder", "encoder", "backbone"]
    assert agreement(found[-1], expected) < 0.9
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
