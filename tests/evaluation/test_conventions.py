"""Other programs' figures, held against those programs."""

import math
import warnings

import numpy as np
import pytest
from medpy.metric import binary

from medseg.evaluation.conventions import CONVENTIONS, columns_of, means_of
from medseg.metrics import evaluate_case

ORGANS = {"one": 1, "two": 2, "three": 3}
SPACING = (2.0, 1.0, 0.5)


def random_maps(seed, cases=6):
    """Pairs in which every way of being empty occurs."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 4, (cases, 2, 6, 5, 4)).astype("u1")
    for case in range(cases):
        for side in (0, 1):
            gone = rng.random(4) < 0.4
            maps[case, side][gone[maps[case, side]]] = 0
    return maps


def results_of(maps):
    cases = []
    for pred, label in maps:
        in_mm = evaluate_case(pred, label, SPACING, ORGANS)
        in_voxels = evaluate_case(pred, label, (1.0,) * 3, ORGANS, metrics=("hd95",))
        organs = {o: columns_of(list(CONVENTIONS), in_mm[o], in_voxels[o]) for o in ORGANS}
        cases.append({"organs": organs})
    return {"labels": ORGANS, "cases": cases}


@pytest.mark.parametrize("seed", range(5))
def test_dice_and_distances_equal_those_of_medpy_or_it_fails(seed):
    maps = random_maps(seed)
    for (pred, label), case in zip(maps, results_of(maps)["cases"], strict=True):
        for organ, value in ORGANS.items():
            ours = case["organs"][organ]
            if (pred == value).any() or (label == value).any():
                assert ours["medpy_dc"] == pytest.approx(binary.dc(pred == value, label == value))
            if (pred == value).any() and (label == value).any():
                theirs = binary.hd95(pred == value, label == value, SPACING)
                assert ours["medpy_hd95_mm"] == pytest.approx(theirs, abs=1e-9)
            else:
                with pytest.raises(RuntimeError):
                    binary.hd95(pred == value, label == value, SPACING)
                assert math.isnan(ours["medpy_hd95_mm"])


@pytest.mark.parametrize("seed", range(5))
def test_figures_and_means_equal_those_of_transunet(seed):
    def metric_percase(pred, label):  # the rule in words: see the module's table
        if pred.any() and label.any():
            return binary.dc(pred, label), binary.hd95(pred, label)
        return (1, 0) if pred.any() else (0, 0)

    maps = random_maps(seed)
    theirs = np.array([[metric_percase(p == v, t == v) for v in ORGANS.values()] for p, t in maps])
    means = means_of(["transunet"], results_of(maps))["transunet"]
    for index, column in enumerate(("transunet_dice", "transunet_hd95_vox")):
        assert list(means[column]["organs"].values()) == pytest.approx(
            theirs[..., index].mean(axis=0)
        )
        assert means[column]["mean"] == pytest.approx(theirs[..., index].mean())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.filterwarnings("ignore:the ground truth of class:UserWarning")
@pytest.mark.filterwarnings("ignore:the prediction of class:UserWarning")
def test_figures_and_means_equal_those_of_monai(seed):
    torch, monai = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    maps = random_maps(seed)
    pred, label = (
        torch.from_numpy(np.stack([maps[:, side] == value for value in ORGANS.values()], axis=1))
        for side in (0, 1)
    )
    metrics = {
        "monai_dice": monai.DiceMetric(include_background=True),
        "monai_hd95_mm": monai.HausdorffDistanceMetric(include_background=True, percentile=95),
    }
    results = results_of(maps)
    means = means_of(["monai"], results)["monai"]
    for column, metric in metrics.items():
        spacing = {} if column == "monai_dice" else {"spacing": SPACING}
        found = metric(pred.float(), label.float(), **spacing).numpy()
        ours = [[case["organs"][organ][column] for organ in ORGANS] for case in results["cases"]]
        np.testing.assert_allclose(ours, np.where(np.isinf(found), np.nan, found), rtol=1e-5)
        if np.isinf(found).any():  # MONAI counts them as figures only where one side is empty
            continue
        overall = float(metric.aggregate(reduction="mean"))
        assert means[column]["mean"] == pytest.approx(overall, rel=1e-5)
        per_organ = metric.aggregate(reduction="mean_batch").numpy()
        assert list(means[column]["organs"].values()) == pytest.approx(per_organ, rel=1e-5)


def test_nnunet_leaves_out_what_is_in_neither_map_and_counts_the_rest():
    maps = np.zeros((3, 2, 3, 3, 3), "u1")
    maps[0, 0, 0, 0, 0] = maps[0, 1, 0, 0, 0] = 1  # found
    maps[1, 1, 0, 0, 0] = 1  # missed; the third case has nothing
    column = means_of(["nnunet"], results_of(maps))["nnunet"]["nnunet_dice"]
    assert column["organs"] == {"one": 0.5, "two": None, "three": None}
    assert column["mean"] is None


def test_missing_every_organ_looks_perfect_to_monai_and_transunet():
    maps = np.zeros((4, 2, 3, 3, 3), "u1")
    maps[:, 1, 0, 0, 0] = 1
    found = means_of(["monai", "transunet"], results_of(maps))
    assert found["monai"]["monai_hd95_mm"]["organs"]["one"] == 0.0
    assert found["transunet"]["transunet_hd95_vox"]["organs"]["one"] == 0.0


def test_no_warning_is_raised_over_cases_without_figures():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        means_of(list(CONVENTIONS), {"labels": ORGANS, "cases": []})
