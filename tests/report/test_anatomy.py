import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.report.anatomy import (
    choose_slices,
    class_map,
    grey_window,
    organ_mask,
    radiological,
    to_grey,
    to_ras,
)
from medseg.volumes import Volume

AXES = st.permutations([0, 1, 2])
SIGNS = st.tuples(*3 * [st.sampled_from([-1, 1])])


def turned(array, affine, order, signs):
    """The same anatomy stored with axes permuted and flipped."""
    orientation = np.column_stack([order, signs]).astype(float)
    stored = nib.orientations.apply_orientation(array, orientation)
    return Volume(stored, affine @ nib.orientations.inv_ornt_aff(orientation, array.shape))


@given(order=AXES, signs=SIGNS)
def test_a_marker_at_the_patients_right_front_appears_at_the_left_top(order, signs):
    array = np.zeros((6, 5, 4))
    array[5, 4, 3] = 1  # RAS: the last index is right, front, head
    volume = turned(array, np.diag([2.0, 3.0, 4.0, 1.0]), order, signs)
    oriented = to_ras(volume)
    assert oriented.spacing == (2.0, 3.0, 4.0)
    picture = radiological(oriented.array[:, :, 3])
    assert picture.shape == (5, 6)
    assert np.argwhere(picture).tolist() == [[0, 0]]


@given(order=AXES, signs=SIGNS)
def test_position_and_file_index_name_the_same_slice_of_the_file(order, signs):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = -20, 7, 100
    volume = turned(np.arange(6 * 5 * 4).reshape(6, 5, 4), affine, order, signs)
    oriented = to_ras(volume)
    assert oriented.position_mm(2) == pytest.approx(108.0)
    in_file = np.take(volume.array, oriented.file_index(2), axis=oriented.file_axis)
    assert set(in_file.ravel()) == set(oriented.array[:, :, 2].ravel())


def test_labels_become_classes_by_name_and_surplus_values_background():
    array = np.array([0, 7, 3, 9])
    assert class_map(array, {"liver": [3], "kidney": [7]}).tolist() == [0, 2, 1, 0]
    assert class_map(array, {"absent": [], "kidney": [9]}).tolist() == [0, 0, 0, 2]


def test_parts_of_a_region_stand_out_of_it():
    array = np.array([0, 1, 2, 3])
    regions = {"tumour": [1, 2, 3], "core": [1], "both": [1, 2]}
    assert class_map(array, regions).tolist() == [0, 2, 3, 1]
    assert organ_mask(array, [1, 2]).tolist() == [False, True, True, False]


def test_a_ct_gets_the_soft_tissue_window_and_an_mr_percentiles():
    ct = np.linspace(-1000, 1200, 1000).reshape(10, 10, 10)
    assert grey_window(ct)[0] == (-160, 240)
    mr = np.linspace(0, 1000, 1001).reshape(7, 11, 13)
    low, high = grey_window(mr)[0]
    assert (low, high) == pytest.approx((5.0, 995.0))
    assert grey_window(np.full((2, 2, 2), np.nan))[0] == (0.0, 1.0)


def test_grey_levels_run_from_black_to_white_and_take_nan():
    grey = to_grey(np.array([[-300.0, -160.0, 40.0, 240.0, np.nan]]), (-160.0, 240.0))
    assert grey.tolist() == [[0, 0, 128, 255, 0]]
    assert to_grey(np.ones((1, 2)), (1.0, 1.0)).tolist() == [[0, 0]]


def test_the_slices_with_most_organs_and_largest_disagreement_are_chosen():
    truth = np.zeros((8, 8, 6), int)
    truth[0:4, 0:4, 0:5] = 1
    truth[5, 5, 3] = 2
    truth[5:7, 5, 4] = 2
    pred = truth.copy()
    pred[0:3, 0, 1] = 0
    pred[0, 0, 4] = 0
    assert choose_slices(truth, pred) == {1: ["largest disagreement"], 4: ["most organs"]}
    pred[0:4, 0, 4] = 0
    assert choose_slices(truth, pred) == {4: ["most organs", "largest disagreement"]}
    assert choose_slices(truth, truth) == {4: ["most organs"]}


def test_an_empty_truth_shows_the_slices_of_what_was_invented():
    truth = np.zeros((4, 4, 5), int)
    pred = truth.copy()
    pred[1:3, 1:3, 2] = 1
    assert list(choose_slices(truth, pred)) == [2]
    assert len(choose_slices(truth, truth)) == 1
