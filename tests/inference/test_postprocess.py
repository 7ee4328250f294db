import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.inference.choose_postprocess import choose_steps
from medseg.inference.postprocess import Step, postprocess
from medseg.volumes import Volume

LABELS = {"liver": 1, "spleen": 7}
AFFINE = np.diag([10.0, -10.0, 5.0, 1.0])  # a voxel is half a ml


def _map():
    array = np.zeros((12, 10, 8), dtype=np.uint8)
    array[1:6, 1:6, 1:6] = 1  # 125 voxels, less what follows
    array[3, 3, 3] = 0  # a hole
    array[3, 2, 2] = 7  # another organ within
    array[8:10, 1:3, 1] = 1  # 4 voxels
    array[10, 3, 2] = 1  # touches those by a corner only
    array[8, 8, 7] = 1  # 1 voxel
    array[11, 8:10, 3] = 7
    return array


def _processed(array, **steps):
    found = postprocess(
        Volume(array, AFFINE), {organ: Step(**step) for organ, step in steps.items()}, LABELS
    )
    return found.array


def test_the_largest_piece_stays_and_other_organs_are_not_touched():
    array = _map()
    expected = array.copy()
    expected[8:11][expected[8:11] == 1] = 0
    np.testing.assert_array_equal(_processed(array, liver={"keep_largest": 1}), expected)
    np.testing.assert_array_equal(array, _map())


def test_the_two_largest_pieces_stay_and_a_shared_corner_makes_one_piece():
    expected = _map()
    expected[8, 8, 7] = 0
    np.testing.assert_array_equal(_processed(_map(), liver={"keep_largest": 2}), expected)


def test_pieces_below_a_volume_in_ml_go():
    expected = _map()
    expected[8, 8, 7] = 0
    np.testing.assert_array_equal(_processed(_map(), liver={"min_ml": 2.5}), expected)
    expected[8:11][expected[8:11] == 1] = 0
    np.testing.assert_array_equal(_processed(_map(), liver={"min_ml": 2.6}), expected)
    nothing = _processed(_map(), liver={"min_ml": 100})
    assert set(np.unique(nothing)) == {0, 7}


def test_holes_are_filled_but_not_over_other_organs():
    expected = _map()
    expected[3, 3, 3] = 1
    np.testing.assert_array_equal(_processed(_map(), liver={"fill_holes": True}), expected)
    assert expected[3, 2, 2] == 7


def test_each_organ_has_its_own_step_and_absent_ones_do_no_harm():
    found = _processed(_map(), liver={"keep_largest": 1}, spleen={"keep_largest": 1})
    assert (found == 7).sum() == 2
    assert found[3, 2, 2] == 0
    empty = np.zeros((4, 4, 4), np.uint8)
    np.testing.assert_array_equal(_processed(empty, liver={"keep_largest": 1}), empty)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_the_axes_changes_nothing(order):
    steps = {"liver": Step(min_ml=2.5, fill_holes=True)}
    expected = postprocess(Volume(_map(), AFFINE), steps, LABELS).array.transpose(order)
    affine = AFFINE[:, [*order, 3]]
    found = postprocess(Volume(_map().transpose(order), affine), steps, LABELS)
    np.testing.assert_array_equal(found.array, expected)


def test_without_steps_the_volume_itself_comes_back():
    volume = Volume(_map(), AFFINE)
    assert postprocess(volume, {}, LABELS) is volume


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"min_ml": 0},
        {"min_ml": -1},
        {"keep_largest": 0},
        {"keep_largest": 1.5},
        {"fill_holes": "false"},
    ],
)
def test_steps_without_sense_are_refused(step):
    with pytest.raises(UsageError):
        Step(**step)


def test_a_step_goes_to_plain_data_and_back():
    step = Step(min_ml=0.5, fill_holes=True)
    assert step.to_plain() == {"min_ml": 0.5, "fill_holes": True}
    assert Step(**step.to_plain()) == step


def _chosen(cases, labels, **more):
    found = choose_steps(cases, labels, **more)
    return {organ: one.step.to_plain() for organ, one in found.items() if one.step is not None}


def _truth():
    truth = np.zeros((12, 10, 8), dtype=np.uint8)
    truth[1:6, 1:6, 1:6] = 1
    truth[8:10, 6:9, 1:4] = 7
    return truth


def test_a_step_is_chosen_only_for_the_organ_it_helps():
    pred = _truth()
    pred[9, 1:3, 5:7] = 1  # a false piece of the liver
    found = _chosen([(pred, _truth(), (1.0, 1.0, 1.0))] * 3, LABELS)
    assert set(found) == {"liver"}
    assert found["liver"] == {"keep_largest": 1}


def test_an_organ_of_two_pieces_keeps_both():
    truth = _truth()
    truth[8:12, 0:4, 5:8] = 1
    pred = truth.copy()
    pred[7, 9, 0] = 1
    found = _chosen([(pred, truth, (1.0, 1.0, 1.0))], LABELS)
    assert found == {"liver": {"keep_largest": 2}}


def test_holes_are_filled_where_the_truth_has_none_and_on_top_of_pieces():
    pred = _truth()
    pred[2:5, 2:5, 3] = 0
    found = _chosen([(pred, _truth(), (2.0, 1.0, 1.0))], LABELS)
    assert found == {"liver": {"fill_holes": True}}
    pred[9, 1:3, 5:7] = 1
    found = _chosen([(pred, _truth(), (2.0, 1.0, 1.0))], LABELS)
    assert found == {"liver": {"keep_largest": 1, "fill_holes": True}}


def test_nothing_is_chosen_where_nothing_is_wrong_or_the_gain_is_small():
    exact = [(_truth(), _truth(), (1.0, 1.0, 1.0))]
    assert _chosen(exact, LABELS) == {}
    pred = _truth()
    pred[9, 1, 5] = 1
    cases = [(pred, _truth(), (1.0, 1.0, 1.0))]
    assert _chosen(cases, LABELS, least_gain=0.0) != {}
    assert _chosen(cases, LABELS, least_gain=0.05) == {}


def test_a_step_that_loses_an_organ_of_one_case_is_not_chosen():
    truth, pred = _truth(), _truth()
    pred[1:6, 1:6, 1:6] = 0
    pred[2:4, 2:4, 2:4] = 1  # what is right of the liver
    pred[8:11, 0:5, 5:8] = 1  # larger, and wrong
    cases = [(pred, truth, (1.0, 1.0, 1.0))]
    other = _truth()
    other[9:11, 1:4, 5:8] = 1
    cases += [(other, truth, (1.0, 1.0, 1.0))] * 9
    found = _chosen(cases, {"liver": 1})
    assert "keep_largest" not in found.get("liver", {}) or found["liver"]["keep_largest"] != 1


def test_cases_are_looked_at_one_at_a_time_and_absent_organs_are_no_gain():
    def cases():
        for _ in range(2):
            invented = np.zeros((6, 6, 6), np.uint8)
            invented[1, 1, 1] = 7
            yield invented, np.zeros((6, 6, 6), np.uint8), (1.0, 1.0, 1.0)

    assert _chosen(cases(), LABELS) == {}
