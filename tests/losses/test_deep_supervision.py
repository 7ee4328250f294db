import pytest
import torch
import torch.nn.functional as F

from medseg.errors import UsageError
from medseg.losses import BCEDiceLoss, DeepSupervision


def test_sizes_are_weighted_by_halves_and_divided_by_their_sum():
    loss = DeepSupervision(lambda logits, label: logits.mean() + 0.0 * label.sum())
    sizes = [torch.full((1, 2, n, n, n), float(value)) for n, value in ((8, 1), (4, 10), (2, 100))]
    label = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    assert loss(sizes, label).item() == pytest.approx((1 + 5 + 25) / 1.75)
    assert loss(sizes[0], label).item() == 1.0


def test_given_weights_may_leave_a_size_out():
    loss = DeepSupervision(lambda logits, _: logits.mean(), weights=[3, 0, 1])
    sizes = [torch.full((1, 1, 4, 4), value) for value in (1.0, float("nan"), 5.0)]
    assert loss(sizes, torch.zeros(1, 4, 4, dtype=torch.long)).item() == pytest.approx(2.0)


def test_a_label_of_another_size_holds_only_values_of_the_label():
    seen = []
    loss = DeepSupervision(lambda logits, label: seen.append(label) or logits.sum())
    label = torch.tensor([[0, 0, 7, 7], [0, 0, 7, 7], [3, 3, 3, 3], [3, 3, 3, 3]])[None]
    loss([torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)], label)
    assert torch.equal(seen[1], torch.tensor([[[0, 7], [3, 3]]]))
    assert seen[1].dtype == torch.long


def test_of_one_size_it_is_the_loss_itself_and_gradients_reach_every_size():
    label = torch.randint(0, 3, (2, 4, 4, 4))
    logits = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    small = F.avg_pool3d(logits, 2).detach().requires_grad_()
    plain = BCEDiceLoss()
    assert DeepSupervision(plain)([logits], label).item() == plain(logits, label).item()
    DeepSupervision(plain)([logits, small], label).backward()
    assert logits.grad.abs().sum() > 0
    assert small.grad.abs().sum() > 0


@pytest.mark.parametrize("weights", [[], [0, 1], [1, -1]])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(UsageError, match="weights"):
        DeepSupervision(BCEDiceLoss(), weights)


def test_more_sizes_than_weights_are_refused():
    loss = DeepSupervision(lambda logits, _: logits.sum(), weights=[1.0])
    with pytest.raises(ValueError, match="at most 1"):
        loss([torch.zeros(1, 1, 2, 2)] * 2, torch.zeros(1, 2, 2, dtype=torch.long))
