import math
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.losses import CEDiceLoss

REFERENCE = Path(__file__).parents[1] / "reference" / "transunet.npz"


def test_both_terms_and_their_mix_are_those_of_the_original():
    with np.load(REFERENCE) as reference:
        logits, label = (torch.from_numpy(reference[f"loss/{n}"]) for n in ("logits", "labels"))
        expected = reference["loss/ce_dice_total"]
    losses = (CEDiceLoss(1.0, 0.0), CEDiceLoss(0.0, 1.0), CEDiceLoss())
    np.testing.assert_allclose([loss(logits, label) for loss in losses], expected, rtol=1e-6)


def test_both_terms_by_hand():
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(3), 0.0]]])  # probabilities 1/4, 3/4
    label = torch.tensor([[1, 1]])
    cross_entropy = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    background = 1 - 0 / (0.25**2 + 0.75**2)
    organ = 1 - 2 * 1 / (0.75**2 + 0.25**2 + 2)
    assert CEDiceLoss(1.0, 0.0)(logits, label).item() == pytest.approx(cross_entropy)
    dice = CEDiceLoss(0.0, 1.0, smooth=0)(logits, label).item()
    assert dice == pytest.approx((background + organ) / 2)


def test_agrees_with_torchs_cross_entropy_and_its_ignored_label():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 4, 3, 5, 2), torch.randint(4, (2, 3, 5, 2))
    label[0, 0] = 255
    expected = torch.nn.functional.cross_entropy(logits, label, ignore_index=255)
    got = CEDiceLoss(1.0, 0.0, ignore_index=255)(logits, label)
    torch.testing.assert_close(got, expected)


def test_one_class_is_refused_with_a_word_on_what_to_use():
    with pytest.raises(ValueError, match=r"two classes or more.*\(1, 1, 3\).*BCEDiceLoss"):
        CEDiceLoss()(torch.zeros(1, 1, 3), torch.tensor([[0, 1, 1]]))


def test_a_negative_weight_is_refused_by_name():
    with pytest.raises(UsageError, match=r"ce_weight must be 0 or more, got -0\.5"):
        CEDiceLoss(-0.5)
