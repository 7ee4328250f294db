import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label as connected

from medseg.metrics import lesions


def test_by_hand():
    label = np.array([
        [1, 1, 0, 0, 0, 1, 0, 0],
        [1, 1, 0, 0, 0, 0, 1, 0],  # the corner makes one lesion of two voxels
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0],
    ], dtype=bool)  # fmt: skip
    pred = np.array([
        [1, 1, 0, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 1],
    ], dtype=bool)  # fmt: skip
    found = lesions(pred, label)
    assert (found.found, found.missed, found.invented) == (2, 1, 2)
    assert found.f1 == pytest.approx(4 / 7)
    # IoU 3/4 is a pair; 1/2 is none, which leaves 2 true and 3 predicted lesions alone
    assert found.panoptic_quality == pytest.approx(0.75 / (1 + 1 + 1.5))


def test_one_prediction_may_find_two_lesions():
    label = np.array([[1, 1, 0, 1, 1]], dtype=bool)
    found = lesions(np.ones_like(label), label)
    assert (found.found, found.missed, found.invented, found.f1) == (2, 0, 0, 1)


def test_empty_masks():
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    nothing, missed, invented = lesions(empty, empty), lesions(empty, full), lesions(full, empty)
    assert np.isnan(nothing.f1)
    assert np.isnan(nothing.panoptic_quality)
    assert (missed.found, missed.missed, missed.invented, missed.f1) == (0, 1, 0, 0)
    assert (invented.found, invented.missed, invented.invented, invented.f1) == (0, 0, 1, 0)
    assert missed.panoptic_quality == invented.panoptic_quality == 0


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(7, 8), (5, 6, 7), (1, 9, 9), (40, 2, 2)]),
    st.sampled_from([0.02, 0.15, 0.5]),
    st.sampled_from("CF"),
)
def test_counts_are_those_of_scipys_components(seed, shape, density, order):
    rng = np.random.default_rng(seed)
    pred, label = (np.asarray(rng.random(shape) < density, order=order) for _ in range(2))
    (mine, n_pred), (theirs, n_label) = (
        connected(mask, np.ones((3,) * len(shape))) for mask in (pred, label)
    )
    touched = len(np.unique(theirs[pred & label]))
    used = len(np.unique(mine[pred & label]))
    matched = []
    for a in range(1, n_pred + 1):
        for b in np.unique(theirs[mine == a]):
            both = np.count_nonzero((mine == a) & (theirs == b))
            iou = both / np.count_nonzero((mine == a) | (theirs == b))
            matched += [iou] if b and iou > 0.5 else []
    found = lesions(pred, label)
    assert (found.found, found.missed) == (touched, n_label - touched)
    assert found.invented == n_pred - used
    if n_pred + n_label:
        assert found.panoptic_quality == pytest.approx(2 * sum(matched) / (n_pred + n_label))
