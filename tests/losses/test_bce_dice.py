import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import UsageError
from medseg.losses import BCEDiceLoss, CEDiceLoss

LOG3 = math.log(3)  # a logit whose sigmoid is 3/4; minus it, 1/4


def test_bce_of_one_binary_class_by_hand():
    logits = torch.tensor([[[LOG3, -LOG3, LOG3, 0.0]]])
    label = torch.tensor([[1, 0, 0, 1]])
    expected = -(2 * math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)) / 4
    assert BCEDiceLoss(1.0, 0.0)(logits, label).item() == pytest.approx(expected)


def test_dice_of_one_binary_class_by_hand():
    logits = torch.tensor([[[LOG3, -LOG3, LOG3, 0.0]]])
    label = torch.tensor([[1, 0, 0, 1]])
    expected = 1 - 2 * (0.75 + 0.5) / ((0.75 + 0.25 + 0.75 + 0.5) + 2)
    assert BCEDiceLoss(0.0, 1.0, smooth=0)(logits, label).item() == pytest.approx(expected)


def test_bce_of_several_classes_is_the_mean_over_all_of_them_background_too():
    logits = torch.tensor([[[LOG3, LOG3], [-LOG3, 0.0], [0.0, -LOG3]]])  # (1, 3, 2)
    label = torch.tensor([[0, 2]])
    right, wrong, half = -math.log(3 / 4), -math.log(1 / 4), -math.log(1 / 2)
    expected = (right + right + half + wrong + half + wrong) / 6
    assert BCEDiceLoss(1.0, 0.0)(logits, label).item() == pytest.approx(expected)


@pytest.mark.parametrize("include_background", [False, True])
def test_dice_of_several_classes_by_hand(include_background):
    logits = torch.tensor([[[LOG3, -LOG3, 0.0], [-LOG3, LOG3, LOG3]]])  # (1, 2, 3)
    label = torch.tensor([[0, 1, 1]])
    background = 1 - 2 * 0.75 / (1.5 + 1)
    organ = 1 - 2 * 1.5 / (1.75 + 2)
    expected = (background + organ) / 2 if include_background else organ
    loss = BCEDiceLoss(0.0, 1.0, smooth=0, include_background=include_background)
    assert loss(logits, label).item() == pytest.approx(expected)


def test_dice_sums_over_the_batch_before_it_divides():
    logits = torch.full((2, 1, 4), LOG3)
    label = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1]])
    expected = 1 - 2 * (5 * 0.75) / (8 * 0.75 + 5)
    assert BCEDiceLoss(0.0, 1.0, smooth=0)(logits, label).item() == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 100))
def test_the_loss_is_the_weighted_sum_of_its_terms(bce_weight, dice_weight, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 4, generator=generator)
    label = torch.randint(3, (2, 4, 4), generator=generator)
    bce, dice = (BCEDiceLoss(*w)(logits, label).item() for w in ((1.0, 0.0), (0.0, 1.0)))
    total = BCEDiceLoss(bce_weight, dice_weight)(logits, label).item()
    assert total == pytest.approx(bce_weight * bce + dice_weight * dice, abs=1e-6)
    assert 0 <= dice <= 1


def test_an_absent_class_does_not_touch_dice_and_still_counts_in_bce():
    label = torch.tensor([[0, 1, 1, 0]])
    two = torch.tensor([[[1.0, -2.0, 0.5, 0.0], [-1.0, 2.0, 0.3, 0.1]]])
    with_absent = torch.cat([two, torch.tensor([[[-1.0, 3.0, -0.4, 0.2]]])], dim=1)
    dice, bce = BCEDiceLoss(0.0, 1.0), BCEDiceLoss(1.0, 0.0)
    assert dice(with_absent, label) == dice(two, label)
    assert bce(with_absent, label) > bce(two, label)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_without_any_organ_has_no_dice_but_a_gradient(channels):
    logits = torch.zeros(2, channels, 4, 4, requires_grad=True)
    label = torch.zeros(2, 4, 4, dtype=torch.long)
    assert BCEDiceLoss(0.0, 1.0)(logits, label) == 0
    BCEDiceLoss()(logits, label).backward()
    assert (logits.grad[:, -1] > 0).all()


@pytest.mark.parametrize("loss_class", [BCEDiceLoss, CEDiceLoss])
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("ignore_index", [255, -1, 0])
def test_ignored_voxels_count_in_neither_term(loss_class, weights, ignore_index):
    torch.manual_seed(0)
    logits, label = torch.randn(1, 3, 10), torch.randint(1, 3, (1, 10))
    loss = loss_class(*weights, ignore_index=ignore_index)
    without = loss(logits[:, :, :6], label[:, :6])
    label[:, 6:] = ignore_index
    torch.testing.assert_close(loss(logits, label), without)
    logits[:, :, 6:] = 1e4
    torch.testing.assert_close(loss(logits, label), without)


@pytest.mark.parametrize("loss_class", [BCEDiceLoss, CEDiceLoss])
def test_a_batch_that_is_ignored_as_a_whole_costs_nothing(loss_class):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    label = torch.full((2, 4, 4), 255)
    loss = loss_class(ignore_index=255)(logits, label)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss_class", [BCEDiceLoss, CEDiceLoss])
@pytest.mark.parametrize("shape", [(2, 6, 6), (1, 4, 5, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_perfect_prediction_costs_nothing(loss_class, shape, dtype):
    torch.manual_seed(0)
    label = torch.randint(3, shape)
    masks = torch.stack([label == index for index in range(3)], dim=1)
    logits = torch.where(masks, 1e4, -1e4).to(dtype)
    assert loss_class()(logits, label).item() == pytest.approx(0, abs=1e-6)
    assert loss_class()(-logits, label) > 0.9


@pytest.mark.parametrize("loss_class", [BCEDiceLoss, CEDiceLoss])
@pytest.mark.parametrize("extreme", [0.0, 1e4, -1e4])
def test_extreme_bf16_logits_under_autocast_keep_loss_and_gradient_finite(loss_class, extreme):
    torch.manual_seed(0)
    logits = torch.full((2, 3, 8, 8), extreme, dtype=torch.bfloat16)
    logits[:, 1] = -extreme
    logits.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_class()(logits, torch.randint(3, (2, 8, 8)))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss_class", [BCEDiceLoss, CEDiceLoss])
def test_sums_over_a_large_bf16_image_are_not_rounded(loss_class):
    label = torch.ones(1, 512, 512, dtype=torch.long)
    logits = torch.full((1, 2, 512, 512), -20.0, dtype=torch.bfloat16)
    logits[:, 1] = 20.0
    assert loss_class(0.0, 1.0)(logits, label).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss_class", [BCEDiceLoss, CEDiceLoss])
def test_the_gradient_is_that_of_finite_differences(loss_class):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([[[0, 1], [2, 255]], [[1, 1], [0, 2]]])
    loss = loss_class(ignore_index=255)
    assert torch.autograd.gradcheck(lambda values: loss(values, label), (logits,))


def test_agrees_with_numpy_in_three_dimensions():
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(2, 3, 4, 5, 3)), rng.integers(3, size=(2, 4, 5, 3))
    p = 1 / (1 + np.exp(-logits))
    y = np.moveaxis(np.eye(3)[label], -1, 1)
    bce = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    overlap, both = ((value).sum((0, 2, 3, 4)) for value in (p * y, p + y))
    dice = 1 - (2 * overlap[1:] + 1e-5) / (both[1:] + 1e-5)
    got = BCEDiceLoss(0.1, 0.9)(torch.from_numpy(logits), torch.from_numpy(label))
    assert got.item() == pytest.approx(0.1 * bce + 0.9 * dice.mean())


@pytest.mark.parametrize("loss_class", [BCEDiceLoss, CEDiceLoss])
@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 5).long(), r"\(2, 3, 4, 4\) and \(2, 4, 5\)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4).long(), r"and \(2, 1, 4, 4\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 4), "torch.float32 and torch.float32"),
        (torch.zeros(1, 3, 2), torch.tensor([[0, 3]]), "indices 0 to 2, got values 0 to 3"),
        (torch.zeros(1, 3, 2), torch.tensor([[-1, 2]]), "indices 0 to 2, got values -1 to 2"),
        (torch.zeros(1, 3, 0), torch.zeros(1, 0).long(), "at least one voxel"),
    ],
)
def test_error_names_what_does_not_fit(loss_class, logits, label, message):
    with pytest.raises(ValueError, match=message):
        loss_class()(logits, label)


def test_one_binary_class_takes_0_and_1_only():
    with pytest.raises(ValueError, match="indices 0 to 1, got values 0 to 2"):
        BCEDiceLoss()(torch.zeros(1, 1, 3), torch.tensor([[0, 1, 2]]))


@pytest.mark.parametrize("name", ["bce_weight", "dice_weight", "smooth"])
def test_a_negative_weight_is_refused_by_name(name):
    with pytest.raises(UsageError, match=f"{name} must be 0 or more, got -1"):
        BCEDiceLoss(**{name: -1})
