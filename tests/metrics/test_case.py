import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.metrics import dsc, evaluate_case, hd95

LABELS = {"spleen": 1, "liver": 500, "left kidney": 2000, "aorta": 7}
SPACING = (0.8, 1.0, 3.0)


def random_maps(seed, shape=(9, 8, 6), dtype=np.int32):
    rng = np.random.default_rng(seed)
    values = np.array([0, 0, 0, *LABELS.values()])
    maps = [rng.choice(values, size=shape) for _ in range(2)]
    for label_map in maps:
        for value in rng.choice(values[3:], size=2):  # so that some organs are missing
            label_map[label_map == value] = 0
    return [label_map.astype(dtype) for label_map in maps]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from("CF"), st.sampled_from("CF"))
def test_equals_the_single_functions_organ_by_organ(seed, pred_order, label_order):
    pred, label = random_maps(seed)
    pred, label = np.asarray(pred, order=pred_order), np.asarray(label, order=label_order)
    figures = evaluate_case(pred, label, SPACING, LABELS)
    assert list(figures) == list(LABELS)
    for organ, value in LABELS.items():
        masks = pred == value, label == value
        ours = figures[organ]
        expected = (
            dsc(*masks),
            hd95(*masks, SPACING),
            hd95(*masks, SPACING, convention="directed"),
            masks[0].sum() * 0.0024,
            masks[1].sum() * 0.0024,
        )
        got = (
            ours["dsc"],
            ours["hd95"],
            ours["hd95_directed"],
            ours["volume_pred_ml"],
            ours["volume_label_ml"],
        )
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_every_status_by_hand():
    pred = np.array([[1, 1, 0, 0], [0, 0, 3, 0]])
    label = np.array([[0, 1, 2, 0], [0, 0, 0, 0]])
    labels = {"scored": 1, "missed": 2, "false_positive": 3, "absent": 4}
    figures = evaluate_case(pred, label, (2.0, 5.0), labels)
    assert {organ: organ for organ in figures} == {o: f.status for o, f in figures.items()}
    assert figures["scored"]["dsc"] == pytest.approx(2 / 3)
    assert figures["scored"]["hd95_directed"] == pytest.approx(0.95 * 5)
    assert figures["missed"]["dsc"] == figures["false_positive"]["dsc"] == 0
    assert figures["missed"]["hd95"] == figures["false_positive"]["hd95_directed"] == np.inf
    assert np.isnan(figures["absent"]["dsc"])
    assert np.isnan(figures["absent"]["hd95"])
    assert figures["scored"]["volume_pred_ml"] == pytest.approx(0.02)
    assert figures["missed"]["volume_pred_ml"] == 0


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int64, np.float32, np.float64, ">i2"])
def test_the_type_of_the_label_map_changes_nothing(dtype):
    pred, label = random_maps(3)
    ours = evaluate_case(pred.astype(dtype), label, SPACING, LABELS)
    assert str(ours) == str(evaluate_case(pred, label, SPACING, LABELS))  # nan is not nan


@pytest.mark.parametrize("value", [300, 65_536, 2_000_000_000, -1])
def test_any_value_may_stand_for_an_organ(value):
    plain = np.zeros((5, 6, 7), dtype=np.int64)
    plain[1:3, 1:4, 2:6] = 1
    moved = np.roll(plain, 1, axis=1)
    expected = evaluate_case(moved, plain, SPACING, {"liver": 1})
    ours = evaluate_case(value * moved, value * plain, SPACING, {"liver": value})
    assert ours == expected


def test_the_truth_may_have_other_values_for_the_same_organs():
    pred, label = random_maps(5)
    renamed = np.select([label == value for value in LABELS.values()], [4, 3, 2, 9], 0)
    truth_labels = dict(zip(LABELS, [4, 3, 2, 9], strict=True)) | {"surplus": 77}
    ours = evaluate_case(pred, renamed, SPACING, LABELS, truth_labels=truth_labels)
    assert str(ours) == str(evaluate_case(pred, label, SPACING, LABELS))


def test_values_that_are_not_named_are_left_out_of_account():
    pred, label = random_maps(6)
    assert str(evaluate_case(pred, label, SPACING, {"aorta": 7})["aorta"]) == str(
        evaluate_case(pred, label, SPACING, LABELS)["aorta"]
    )


def test_error_names_what_does_not_fit():
    grid = np.ones((4, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"pred \(4, 4\) and label \(4, 3\)"):
        evaluate_case(grid, grid[:, :3], (1, 1), {"liver": 1})
    with pytest.raises(ValueError, match="3 spacings"):
        evaluate_case(grid, grid, (1, 1, 1), {"liver": 1})
    with pytest.raises(ValueError, match=r"whole numbers, got 0\.5"):
        evaluate_case(grid * 0.5, grid, (1, 1), {"liver": 1})
    with pytest.raises(ValueError, match="whole numbers, got nan"):
        evaluate_case(np.full((4, 4), np.nan), grid, (1, 1), {"liver": 1})
    with pytest.raises(ValueError, match=r"'liver'.*background"):
        evaluate_case(grid, grid, (1, 1), {"liver": 0})
    with pytest.raises(ValueError, match=r"name 'liver', got \['spleen'\]"):
        evaluate_case(grid, grid, (1, 1), {"liver": 1}, truth_labels={"spleen": 1})
