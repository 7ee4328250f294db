import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt

from medseg.metrics import boundary_iou, iou


def test_rims_of_two_squares_by_hand():
    label, pred = np.zeros((2, 9, 9), dtype=bool)
    label[1:8, 1:8] = pred[1:8, 1:8] = True
    pred[1, 1:8] = False  # 7 × 7 against 6 × 7
    assert iou(pred, label) == pytest.approx(42 / 49)
    # rims one voxel wide: 24 and 22 voxels; all of the prediction's but the 5 inner ones of its
    # first row lie in the other
    assert boundary_iou(pred, label, (1, 1), width_mm=0) == pytest.approx(17 / (24 + 22 - 17))
    assert boundary_iou(pred, label, (1, 1), width_mm=9) == iou(pred, label)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (2.5, 1.0, 0.6)]),
    st.sampled_from([0.0, 1.1, 2.0, 4.0]),
)
def test_the_rim_is_what_a_distance_transform_finds(seed, spacing, width):
    rng = np.random.default_rng(seed)
    masks = [rng.random((6, 7, 8)) > 0.15 for _ in range(2)]
    rims = []
    for mask in masks:
        surface = mask & ~binary_erosion(mask)
        rims.append(mask & (distance_transform_edt(~surface, sampling=spacing) <= width))
    assert boundary_iou(*masks, spacing, width) == pytest.approx(iou(*rims))


def test_empty_masks():
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    assert np.isnan(boundary_iou(empty, empty, (1, 1)))
    assert boundary_iou(empty, full, (1, 1)) == boundary_iou(full, empty, (1, 1)) == 0


def test_a_width_that_is_no_length_is_refused():
    mask = np.ones((4, 4), dtype=bool)
    with pytest.raises(ValueError, match="width_mm must be a length in mm, 0 or more, got nan"):
        boundary_iou(mask, mask, (1, 1), np.nan)
