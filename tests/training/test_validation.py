import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric
from monai.networks import one_hot
from torch import nn

from medseg.errors import UsageError
from medseg.loading.geometry import SliceGeometry
from medseg.training.validation import Validation, dsc_of, validate
from tests.training.small import GEOMETRY, LABELS, organs, stored_case

CPU = torch.device("cpu")


class Threshold(nn.Module):
    """Class 1 from 0.3, class 2 from 0.7."""

    def forward(self, image):
        found = (image[:, 0] > 0.3).long() + (image[:, 0] > 0.7).long()
        return 10 * one_hot(found[:, None], 3) - 5


def score(cases, network=None, **changes):
    validation = Validation(cases, LABELS, GEOMETRY, **changes)
    return validate(network or Threshold(), nn.CrossEntropyLoss(), validation, device=CPU)


def test_dsc_from_a_confusion_matrix_by_hand():
    confusion = np.array([[5, 1, 0, 0], [2, 3, 0, 0], [4, 0, 0, 0], [0, 0, 0, 0]])
    # organ 1: 2 * 3 / (5 + 4); organ 2: missed; organ 3: in neither
    np.testing.assert_allclose(dsc_of(confusion), [6 / 9, 0, np.nan])


def test_a_perfect_network_scores_one(tmp_path):
    scores = score([organs(tmp_path, "a", 1), organs(tmp_path, "b", 2)])
    assert scores.dsc == {"liver": 1.0, "spleen": 1.0}
    assert scores.mean_dsc == 1.0
    assert scores.loss == pytest.approx(np.log1p(2 * np.exp(-10)), rel=1e-2)


def test_agrees_with_monai_on_noise(tmp_path):
    rng = np.random.default_rng(0)
    cases = [
        stored_case(tmp_path, name, rng.integers(0, 3, (3, 16, 16)), rng.random((3, 16, 16)))
        for name in "ab"
    ]
    metric = DiceMetric(include_background=False, reduction="mean_batch")
    for case in cases:
        found = np.digitize(case.images, [0.3, 0.7])
        pair = [torch.from_numpy(v.astype(np.int64))[None, None] for v in (found, case.classes)]
        metric(*(one_hot(volume, 3) for volume in pair))
    assert list(score(cases).dsc.values()) == pytest.approx(metric.aggregate().tolist())


def test_an_organ_absent_from_both_does_not_count_and_one_invented_counts_zero(tmp_path):
    classes = np.zeros((2, 16, 16), dtype=int)
    classes[:, :8] = 1
    invented = np.full(classes.shape, 0.5)  # all liver
    right = stored_case(tmp_path, "right", classes, 0.5 * classes)
    empty = stored_case(tmp_path, "empty", 0 * classes, invented)
    assert score([right]).dsc == {"liver": 1.0, "spleen": None}
    assert score([right]).mean_dsc == 1.0
    assert score([right, empty]).dsc == {"liver": 0.5, "spleen": None}


def test_nothing_to_score_is_no_score(tmp_path):
    nothing = np.zeros((2, 16, 16), dtype=int)
    assert score([stored_case(tmp_path, "nothing", nothing, 0.0 * nothing)]).mean_dsc is None


def test_the_whole_case_counts_whatever_the_batches(tmp_path):
    cases = [organs(tmp_path, "a", 1)]
    network = nn.Conv2d(1, 3, 3, padding=1)
    one, four = score(cases, network, batch_size=1), score(cases, network, batch_size=3)
    assert one.dsc == four.dsc
    assert one.loss == pytest.approx(four.loss)


def test_a_network_with_one_channel_is_scored_at_one_half(tmp_path):
    classes = np.zeros((2, 16, 16), dtype=int)
    classes[:, 4:8] = 1
    case = stored_case(tmp_path, "a", classes, 0.9 * classes)

    class Binary(nn.Module):
        def forward(self, image):
            return image - 0.5

    def loss(logits, label):
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], label.float())

    scores = validate(Binary(), loss, Validation([case], {"liver": 1}, GEOMETRY), device=CPU)
    assert scores.dsc == {"liver": 1.0}


def test_max_cases_takes_the_same_ones_evenly(tmp_path):
    cases = [organs(tmp_path, f"case{number}", number) for number in range(5)]
    chosen = Validation(cases, LABELS, GEOMETRY, max_cases=3).chosen
    assert [case.case_id for case in chosen] == ["case0", "case2", "case4"]
    assert Validation(cases, LABELS, GEOMETRY, max_cases=9).chosen == cases


def test_the_network_is_left_in_the_mode_it_was_in(tmp_path):
    network = nn.Conv2d(1, 3, 1).train()
    score([organs(tmp_path, "a", 1)], network)
    assert network.training


def test_no_cases_are_refused():
    with pytest.raises(UsageError, match="at least one case"):
        Validation([], LABELS, SliceGeometry((16, 16)))
