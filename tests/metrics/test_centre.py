import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.metrics import centre_distance


def test_a_bar_moved_by_three_voxels_of_2mm_is_6mm_away():
    pred, label = np.zeros((2, 3, 12), dtype=bool)
    label[1, 1:5] = pred[1, 4:8] = True
    assert centre_distance(pred, label, (5.0, 2.0)) == pytest.approx(6.0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from("CF"))
def test_is_the_distance_of_the_mean_positions(seed, order):
    rng = np.random.default_rng(seed)
    pred, label = (np.asarray(rng.random((4, 5, 6)) > 0.6, order=order) for _ in range(2))
    spacing = (0.7, 1.3, 3.0)
    middles = [np.argwhere(mask).mean(axis=0) * spacing for mask in (pred, label)]
    expected = np.linalg.norm(middles[0] - middles[1])
    assert centre_distance(pred, label, spacing) == pytest.approx(expected, abs=1e-12)


def test_empty_masks():
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    assert np.isnan(centre_distance(empty, empty, (1, 1)))
    assert centre_distance(empty, full, (1, 1)) == centre_distance(full, empty, (1, 1)) == np.inf
