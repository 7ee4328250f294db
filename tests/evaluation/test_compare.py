import csv
import json

import numpy as np
import pytest

import medseg
from medseg.errors import UsageError
from medseg.evaluation.compare import compare
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.paired import paired
from medseg.evaluation.significance import holm
from tests.evaluation.files import blocks, save
from tests.evaluation.results import (
    ABSENT,
    DIAGONAL,
    INVENTED,
    METRICS,
    MISSED,
    ONE,
    OTHER,
    models,
    results,
    shares,
    write,
)


def random_model(seed, cases=30, organs=4, shift=0.0):
    values = shares(np.random.default_rng(seed), cases, organs, shift)
    return {f"organ {index}": column.tolist() for index, column in enumerate(values.T)}


def test_two_models_by_hand(tmp_path):
    found = compare(models(tmp_path, ONE, OTHER), tmp_path / "out", metrics=["dsc"])
    (pair,) = found["pairs"]
    assert (pair["reference"], pair["model"]) == ("model_0", "model_1")
    liver, spleen = (pair["metrics"]["dsc"]["organs"][organ] for organ in ("liver", "spleen"))
    # a miss counts 0, an invention 0, and leaving out what is not there 1
    assert liver["differences"] == pytest.approx([0.05, 0.0, -0.7, 0.4, -1.0])
    assert (liver["wins"], liver["ties"], liver["losses"], liver["n"]) == (2, 1, 2, 5)
    assert liver["mean"] == pytest.approx(-1.25 / 5)
    assert liver["median"] == 0.0
    assert spleen["differences"][3:] == [None, None]
    assert spleen["differences"][:3] == pytest.approx([0.0, -1.0, 0.1])
    mean = pair["metrics"]["dsc"]["mean"]
    assert mean["differences"] == pytest.approx([0.025, -0.5, -0.3, 0.4, -1.0])
    assert found["figures"]["dsc"]["model_0"]["organs"]["liver"]["mean"] == pytest.approx(3.4 / 5)
    assert found["values"]["dsc"]["model_1"]["organs"]["spleen"] == [0.5, 0.0, 0.7, None, None]


def test_a_distance_of_a_miss_is_the_diagonal_and_of_nothing_rightly_left_out_0(tmp_path):
    found = compare(models(tmp_path, ONE, OTHER), tmp_path / "out", metrics=["hd95"])
    liver = found["pairs"][0]["metrics"]["hd95"]["organs"]["liver"]
    assert liver["differences"] == pytest.approx([-0.5, 0.0, DIAGONAL - 3, 6 - DIAGONAL, DIAGONAL])
    assert (liver["wins"], liver["losses"]) == (2, 2)


def test_the_worst_regressions_come_first_with_their_statuses(tmp_path):
    found = compare(models(tmp_path, ONE, OTHER), tmp_path / "out")
    pair = found["pairs"][0]
    losses = pair["regressions"]["dsc"]
    assert [(loss["case_id"], loss["organ"]) for loss in losses] == [
        ("case_1", "spleen"), ("case_4", "liver"), ("case_2", "liver"),
    ]  # fmt: skip
    assert losses[2] == {
        "case_id": "case_2", "organ": "liver", "reference": 0.7, "model": 0.0, "difference": -0.7,
        "reference_status": "scored", "model_status": "missed",
    }  # fmt: skip
    assert {
        (c["case_id"], c["organ"], c["reference"], c["model"]) for c in pair["status_changes"]
    } == {
        ("case_1", "spleen", "absent", "false_positive"),
        ("case_2", "liver", "scored", "missed"),
        ("case_3", "liver", "missed", "scored"),
        ("case_4", "liver", "absent", "false_positive"),
    }


def test_missing_an_organ_never_helps(tmp_path):
    base = random_model(0, cases=8)
    spoilt = {organ: list(values) for organ, values in base.items()}
    spoilt["organ 1"][3] = spoilt["organ 2"][5] = MISSED
    found = compare(models(tmp_path, base, spoilt), tmp_path / "out")
    for key, worse in (("dsc", -1), ("hd95", 1)):
        metrics = found["pairs"][0]["metrics"][key]
        assert metrics["mean"]["mean"] * worse > 0
        assert metrics["mean"]["losses"] == 2
        assert [row["mean"] * worse > 0 for row in metrics["organs"].values()] == [
            False, True, True, False,
        ]  # fmt: skip


def test_the_family_is_every_organ_and_the_mean_of_every_model(tmp_path):
    paths = models(tmp_path, *(random_model(seed, shift=0.1 * seed) for seed in range(3)))
    found = compare(paths, tmp_path / "out", metrics=["dsc"], seed=3, resamples=500)
    rows = [
        row
        for pair in found["pairs"]
        for row in [*pair["metrics"]["dsc"]["organs"].values(), pair["metrics"]["dsc"]["mean"]]
    ]
    assert [pair["model"] for pair in found["pairs"]] == ["model_1", "model_2"]
    np.testing.assert_allclose([row["p_holm"] for row in rows], holm([row["p"] for row in rows]))
    for row in rows:
        assert row["significant"] == (row["p_holm"] <= 0.05)
        assert row["better"] == ("model" if row["significant"] else None)
        alone = paired(
            np.array(row["differences"])[:, None],
            higher_is_better=True, tolerance=0.001, resamples=500, seed=3,
        )  # fmt: skip
        assert row["ci_low"] == pytest.approx(alone.low[0])
        assert row["p"] == alone.p[0]


def test_later_metrics_count_only_where_the_first_differs(tmp_path):
    base = random_model(0, cases=40)
    one, other = results(base), results(base)
    for case in other["cases"]:
        for entry in case["organs"].values():
            entry["hd95"] /= 2
    paths = [write(tmp_path / "a", one), write(tmp_path / "b", other)]
    found = compare(paths, tmp_path / "out")
    assert list(found["metrics"]) == ["dsc", "hd95"]
    row = found["pairs"][0]["metrics"]["hd95"]["mean"]
    assert row["p_holm"] < 1e-6
    assert not row["significant"]
    assert any("hd95" in notice and "dsc" in notice for notice in found["notices"])
    first = compare(paths, tmp_path / "out", metrics=["hd95", "dsc"])
    assert first["pairs"][0]["metrics"]["hd95"]["mean"]["better"] == "model"


def test_all_pairs_are_compared_on_request(tmp_path):
    paths = models(tmp_path, *(random_model(seed) for seed in range(3)))
    found = compare(paths, tmp_path / "out", names=["x", "y", "z"], all_pairs=True)
    pairs = [(pair["reference"], pair["model"]) for pair in found["pairs"]]
    assert pairs == [("x", "y"), ("x", "z"), ("y", "z")]


def test_what_one_pair_shows_does_not_hang_on_a_third_model(tmp_path):
    third = {
        "liver": [INVENTED if value == ABSENT else 0.1 for value in ONE["liver"]],
        "spleen": [0.1, INVENTED, 0.1, INVENTED, INVENTED],
    }
    paths = models(tmp_path, ONE, OTHER, third)
    two = compare(paths[:2], tmp_path / "two", metrics=["dsc"])["pairs"][0]
    three = compare(paths, tmp_path / "three", metrics=["dsc"])["pairs"][0]
    for organ in ONE:
        one, other = (each["metrics"]["dsc"]["organs"][organ] for each in (two, three))
        assert one["differences"] == other["differences"]
        assert (one["mean"], one["p"], one["n"]) == (other["mean"], other["p"], other["n"])


def test_only_cases_and_organs_that_all_have_are_compared_and_others_are_named(tmp_path):
    one = results({"liver": [0.9, 0.8, 0.7], "aorta": [0.1, 0.2, 0.3]}, cases=["a", "b", "c"])
    other = results({"spleen": [0.9, 0.9, 0.9], "liver": [0.4, 0.5, 0.6]}, cases=["c", "d", "b"])
    for case in other["cases"]:
        case["label_values"] = {"liver": 1, "spleen": 2}
    paths = [write(tmp_path / "a", one), write(tmp_path / "b", other)]
    found = compare(paths, tmp_path / "out", metrics=["dsc"])
    assert (found["cases"], found["organs"]) == (["b", "c"], ["liver"])
    liver = found["pairs"][0]["metrics"]["dsc"]["organs"]["liver"]
    assert liver["differences"] == pytest.approx([0.6 - 0.8, 0.4 - 0.7])
    assert found["left_out"] == {
        "cases": {"a": ["b"], "d": ["a"]}, "organs": {"aorta": ["b"], "spleen": ["a"]},
    }  # fmt: skip
    said = " ".join(found["notices"])
    assert "a (not in b), d (not in a)" in said
    assert "aorta (not in b)" in said


def test_too_few_cases_for_any_significance_are_said(tmp_path):
    paths = models(tmp_path, {"liver": [0.1] * 5}, {"liver": [0.9] * 5})
    found = compare(paths, tmp_path / "out", metrics=["dsc"])
    row = found["pairs"][0]["metrics"]["dsc"]["organs"]["liver"]
    assert (row["n"], row["p"], row["significant"]) == (5, 0.0625, False)
    assert any("below 7 pairs" in notice for notice in found["notices"])


def test_models_that_are_equal_tie_everywhere(tmp_path):
    found = compare(models(tmp_path, ONE, ONE), tmp_path / "out")
    for key in ("dsc", "hd95"):
        mean = found["pairs"][0]["metrics"][key]["mean"]
        assert (mean["wins"], mean["losses"], mean["p"], mean["mean"]) == (0, 0, 1.0, 0.0)
        assert (mean["ci_low"], mean["ci_high"]) == (0.0, 0.0)
        assert found["pairs"][0]["regressions"][key] == []
        assert {m["first"] for m in found["ranking"][key]["models"].values()} == {0.5}


def test_an_organ_that_is_nowhere_has_no_figure_and_is_no_test(tmp_path):
    nowhere = {"liver": [0.5, 0.6], "spleen": [ABSENT, ABSENT]}
    found = compare(models(tmp_path, nowhere, nowhere), tmp_path / "out")
    row = found["pairs"][0]["metrics"]["dsc"]["organs"]["spleen"]
    assert (row["n"], row["mean"], row["ci_low"], row["p"], row["p_holm"]) == (0, *[None] * 4)
    assert found["pairs"][0]["metrics"]["dsc"]["mean"]["differences"] == [0.0, 0.0]
    assert "spleen & -- & --" in (tmp_path / "out" / "comparison.tex").read_text()


def test_metrics_are_the_usual_ones_that_rank_unless_named(tmp_path):
    paths = models(tmp_path, ONE, OTHER, metrics=METRICS)
    assert list(compare(paths, tmp_path / "out")["metrics"]) == ["dsc", "hd95", "nsd_2mm"]
    named = compare(paths, tmp_path / "out", metrics=["nsd", "dsc"])["metrics"]
    assert list(named) == ["nsd_2mm", "dsc"]
    for wrong in ("volume_pred_ml", "hd96"):
        with pytest.raises(UsageError, match=f"dsc, hd95, nsd_2mm, got '{wrong}'"):
            compare(paths, tmp_path / "out", metrics=[wrong])


def test_results_of_before_metrics_named_their_worst_figure_are_read_alike(tmp_path):
    paths = models(tmp_path, ONE, OTHER)
    older = [json.loads((path / "results.json").read_text()) for path in paths]
    for content in older:
        del content["format"]
        for metric in content["metrics"].values():
            del metric["worst"], metric["headline"]
    old = [write(tmp_path / "old" / path.name, own) for path, own in zip(paths, older, strict=True)]
    new, again = (compare(each, tmp_path / "out")["pairs"] for each in (paths, old))
    assert new == again


def test_the_files_hold_what_is_returned(tmp_path):
    paths = models(tmp_path, *(random_model(seed, shift=seed) for seed in range(2)))
    found = compare(paths, tmp_path / "out", names=["ours_1", "R&D 50%"])
    out = tmp_path / "out"
    assert json.loads((out / "comparison.json").read_text()) == found
    assert {path.name for path in out.iterdir()} == {
        "comparison.json", "comparison.csv", "comparison.tex",
    }  # fmt: skip
    with (out / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5
    row, entry = rows[0], found["pairs"][0]["metrics"]["dsc"]["organs"]["organ 0"]
    assert (row["model"], row["metric"], row["organ"]) == ("R&D 50%", "dsc", "organ 0")
    assert float(row["difference_mean"]) == entry["mean"]
    assert float(row["p_holm"]) == entry["p_holm"]
    difference = float(row["model_mean"]) - float(row["reference_mean"])
    assert difference == pytest.approx(entry["mean"])
    text = (out / "comparison.tex").read_text()
    assert r"Organ & ours\_1 & R\&D 50\% & ours\_1 & R\&D 50\% \\" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in text
    first = found["figures"]["dsc"]["R&D 50%"]["organs"]["organ 0"]["mean"]
    assert rf"\textbf{{{100 * first:.2f}}}$^{{+}}$" in text


def test_the_same_call_gives_the_same_files_and_another_seed_other_intervals(tmp_path):
    paths = models(tmp_path, random_model(0), random_model(1))
    one, two, three = (
        compare(paths, tmp_path / name, seed=seed)
        for name, seed in (("one", 0), ("two", 0), ("three", 1))
    )
    assert one == two
    rows = [found["pairs"][0]["metrics"]["dsc"]["mean"] for found in (one, three)]
    assert rows[0]["ci_low"] != rows[1]["ci_low"]
    assert rows[0]["p"] == rows[1]["p"]


def test_from_label_maps_to_comparison(tmp_path):
    labels = {"liver": 1, "spleen": 2}
    truth = blocks((1, (1, 1, 1)), (2, (4, 4, 3)))
    predictions = {
        "good": truth,
        "poor": blocks((1, (2, 1, 1))),  # liver moved by a voxel, spleen missed
    }
    for case in ("a", "b"):
        save(tmp_path / "truth" / f"{case}.nii.gz", truth)
        for name, array in predictions.items():
            save(tmp_path / name / f"{case}.nii.gz", array)
    for name in predictions:
        evaluate(tmp_path / name, tmp_path / "truth", tmp_path / "results" / name, labels=labels)
    paths = [tmp_path / "results" / name for name in predictions]
    found = medseg.compare(paths, tmp_path / "out", metrics=["dsc"])
    (pair,) = found["pairs"]
    assert (pair["reference"], pair["model"]) == ("good", "poor")
    organs = pair["metrics"]["dsc"]["organs"]
    assert organs["liver"]["differences"] == [-0.5, -0.5]
    assert organs["spleen"]["differences"] == [-1.0, -1.0]
    assert len(pair["status_changes"]) == 2
