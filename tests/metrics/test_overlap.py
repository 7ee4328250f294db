import numpy as np
import pytest

from medseg.metrics import dsc, iou, precision, recall


def test_two_masks_of_three_and_one_voxels_that_share_one_score_a_half():
    pred = np.array([True, True, True, False])
    label = np.array([False, False, True, False])
    assert dsc(pred, label) == 0.5


def test_a_missed_and_an_invented_organ_score_zero_and_an_absent_one_nothing():
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    assert dsc(empty, full) == dsc(full, empty) == 0.0
    assert np.isnan(dsc(empty, empty))


def test_label_maps_are_refused_since_only_masks_have_one_overlap():
    with pytest.raises(ValueError, match="pred uint8 and label bool"):
        dsc(np.ones(3, dtype=np.uint8), np.ones(3, dtype=bool))


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"pred \(3,\) and label \(4,\)"):
        dsc(np.ones(3, dtype=bool), np.ones(4, dtype=bool))


def test_iou_precision_and_recall_by_hand():
    pred = np.array([True, True, True, False, False])
    label = np.array([False, True, True, True, True])
    assert iou(pred, label) == 2 / 5
    assert precision(pred, label) == 2 / 3
    assert recall(pred, label) == 2 / 4


@pytest.mark.parametrize("figure", [iou, precision, recall])
def test_empty_masks_count_as_in_dsc(figure):
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    assert figure(empty, full) == figure(full, empty) == 0
    assert np.isnan(figure(empty, empty))
