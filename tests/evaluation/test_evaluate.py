import csv
import json

import numpy as np
import pytest

from medseg.case import Case, write_cases
from medseg.errors import InputError, UsageError
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.score import Scoring
from medseg.volumes import Volume, write_volume
from tests.evaluation.files import DIAGONAL, SHAPE, blocks, save
from tests.shared import SHARED, needs_shared

LABELS = {"liver": 1, "spleen": 2, "aorta": 3, "stomach": 4}
TRUTH = blocks((1, (1, 1, 1)), (2, (4, 4, 3)))
PREDICTION = blocks((1, (2, 1, 1)), (3, (5, 1, 0)))  # liver moved by 1 mm, spleen missed


def folders(tmp_path, predictions, truths):
    for folder, arrays in (("out", predictions), ("truth", truths)):
        (tmp_path / folder).mkdir()
        for name, array in arrays.items():
            save(tmp_path / folder / f"{name}.nii.gz", array)
    return tmp_path / "out", tmp_path / "truth", tmp_path / "results"


def error_of(results):
    (failure,) = results["failures"]
    return failure["error"]


def test_one_case_by_hand(tmp_path):
    places = folders(tmp_path, {"a": PREDICTION}, {"a": TRUTH})
    results = evaluate(*places, labels=LABELS)
    (case,) = results["cases"]
    liver = {
        "status": "scored", "dsc": 0.5, "hd95": 1.0, "hd95_directed": 1.0,
        "volume_pred_ml": 0.048, "volume_label_ml": 0.048,
    }  # fmt: skip
    nothing = {"dsc": 0.0, "hd95": None, "hd95_directed": None}
    assert case["case_id"] == "a"
    assert case["shape"] == list(SHAPE)
    assert case["spacing"] == [1.0, 2.0, 3.0]
    assert case["diagonal_mm"] == pytest.approx(DIAGONAL)
    assert {key: case["organs"]["liver"][key] for key in liver} == pytest.approx(liver)
    assert case["organs"]["spleen"]["status"] == "missed"
    assert case["organs"]["aorta"]["status"] == "false_positive"
    assert nothing.items() <= case["organs"]["spleen"].items()
    assert nothing.items() <= case["organs"]["aorta"].items()
    assert case["organs"]["stomach"]["status"] == "absent"
    assert case["organs"]["stomach"]["dsc"] is None
    assert results["failures"] == []
    assert results["summary"]["mean"]["dsc"] == pytest.approx(0.5 / 3)
    assert results["summary"]["mean"]["hd95"] == pytest.approx((1 + 2 * DIAGONAL) / 3)
    assert results["summary"]["mean"]["hd95_scored"] == 1.0


def test_the_files_hold_what_is_returned(tmp_path):
    out, truth, output = folders(tmp_path, {"a": PREDICTION}, {"a": TRUTH, "b": TRUTH})
    results = evaluate(out, truth, output, labels=LABELS)
    assert json.loads((output / "results.json").read_text()) == results
    with (output / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case_id"], row["organ"]) for row in rows] == [("a", organ) for organ in LABELS]
    liver, spleen, *_ = rows
    assert float(liver["hd95_pooled_mm"]) == float(liver["hd95_directed_mm"]) == 1.0
    assert (spleen["status"], spleen["dsc"], spleen["hd95_pooled_mm"]) == ("missed", "0.0", "")
    kept = sorted(path.name for path in output.iterdir())
    files = ["results.csv", "results.json", "results.tex", "summary.json"]
    assert kept == [".journal", *files]  # the journal for when b has been predicted


def test_every_figure_names_its_unit_and_convention(tmp_path):
    metrics = evaluate(*folders(tmp_path, {"a": TRUTH}, {"a": TRUTH}), labels=LABELS)["metrics"]
    assert {"dsc", "iou", "hd95", "hd95_directed", "assd", "nsd_1mm", "lesion_f1"} <= set(metrics)
    assert "pooled" in metrics["hd95"]["convention"]
    assert "directed" in metrics["hd95_directed"]["convention"]
    assert metrics["hd95"]["unit"] == "mm"


def test_organs_are_matched_by_name_and_surplus_ones_of_the_truth_are_background(tmp_path):
    truth = blocks((600, (1, 1, 1)), (7, (4, 4, 3)), (9, (0, 4, 0)))
    places = folders(tmp_path, {"a": TRUTH}, {"a": truth})
    named = {"spleen": 7, "kidney": 9, "liver": 600}
    results = evaluate(*places, labels=LABELS, truth_labels=named)
    (case,) = results["cases"]
    assert [case["organs"][organ]["dsc"] for organ in ("liver", "spleen")] == [1.0, 1.0]
    assert case["not_in_truth"] == ["aorta", "stomach"]
    aorta = results["summary"]["organs"]["aorta"]["dsc"]
    assert (aorta["mean"], aorta["n"]) == (None, 0)


def test_a_bad_case_is_told_and_the_others_are_scored(tmp_path):
    good = dict.fromkeys(["first", "last"], TRUTH)
    truths = good | dict.fromkeys(["missing", "shape", "moved", "value", "fraction"], TRUTH)
    bad = {"shape": TRUTH[:-1], "value": blocks((77, (0, 0, 0))), "fraction": TRUTH / 2.0}
    out, truth, output = folders(tmp_path, good | bad, truths)
    save(out / "moved.nii.gz", TRUTH, origin=(0.0, 0.0, 3.0))
    (truth / "broken.nii.gz").write_bytes(b"no volume")
    save(out / "broken.nii.gz", TRUTH)

    results = evaluate(out, truth, output, labels=LABELS)
    assert [case["case_id"] for case in results["cases"]] == ["first", "last"]
    errors = {failure["case_id"]: failure["error"] for failure in results["failures"]}
    assert errors.keys() == {"missing", "shape", "moved", "value", "fraction", "broken"}
    assert "missing prediction" in errors["missing"]
    assert "predicted on another grid, shape (7, 7, 6)" in errors["shape"]
    assert "predicted on another grid, corners up to 3 mm away" in errors["moved"]
    assert "77, which no organ has" in errors["value"]
    assert "whole numbers, got 0.5" in errors["fraction"]
    assert str(out / "value.nii.gz") in errors["value"]
    assert str(truth / "broken.nii.gz") in errors["broken"]
    assert all("\n" not in error for error in errors.values())
    assert results["summary"]["cases"] == {"scored": 2, "failed": 6}
    assert results["summary"]["mean"]["dsc"] == 1.0


def test_rounding_in_a_header_is_no_other_grid(tmp_path):
    out, truth, output = folders(tmp_path, {}, {"a": TRUTH})
    save(out / "a.nii.gz", TRUTH, origin=(0.01, 0.0, -0.02), spacing=(1.0001, 2.0, 3.0))
    assert evaluate(out, truth, output, labels=LABELS)["failures"] == []


def test_a_value_of_the_truth_that_is_not_named_is_told(tmp_path):
    places = folders(tmp_path, {"a": TRUTH}, {"a": blocks((13, (0, 0, 0)))})
    error = error_of(evaluate(*places, labels=LABELS))
    assert "13, which no organ has" in error
    assert "truth" in error


def test_no_organ_in_common_is_told_with_the_names_of_both(tmp_path):
    places = folders(tmp_path, {"a": TRUTH}, {"a": TRUTH})
    error = error_of(evaluate(*places, labels=LABELS, truth_labels={"Liver": 1, "Spleen": 2}))
    assert "(Liver, Spleen), got only liver, spleen" in error


def test_workers_change_nothing_and_every_case_is_heard_of(tmp_path):
    rng = np.random.default_rng(0)
    maps = [{name: rng.integers(0, 3, SHAPE).astype(np.uint8) for name in "cab"} for _ in range(2)]
    places, heard = folders(tmp_path, *maps), []
    one = evaluate(*places, labels=LABELS)
    two = evaluate(*places, labels=LABELS, workers=2, progress=lambda *step: heard.append(step))
    assert one == two
    assert [case["case_id"] for case in one["cases"]] == ["a", "b", "c"]
    assert [step[1:3] for step in heard] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_case_list_and_what_predict_left_behind_need_no_further_words(tmp_path):
    out, truth, output = folders(tmp_path, {"x": TRUTH, "y": TRUTH}, {"x": TRUTH, "y": TRUTH})
    (out / "predictions.json").write_text(json.dumps({"labels": {"liver": 1, "spleen": 2}}))
    cases = [
        Case(name, tmp_path / f"{name}_image.nii", truth / f"{name}.nii.gz", LABELS)
        for name in "xy"
    ]
    write_cases(tmp_path / "cases.json", cases)
    results = evaluate(out, tmp_path / "cases.json", output)
    assert results["labels"] == {"liver": 1, "spleen": 2}
    assert results["summary"]["mean"]["dsc"] == 1.0
    assert [case["image"] for case in results["cases"]] == [str(case.image) for case in cases]


def test_where_nothing_can_be_compared_nothing_is_written(tmp_path):
    out, truth, output = folders(tmp_path, {"a": TRUTH}, {"b": TRUTH})
    with pytest.raises(InputError, match="such as b"):
        evaluate(out, truth, output, labels=LABELS)
    assert not output.exists()


def test_a_prediction_in_another_orientation_is_matched_by_world_position(tmp_path):
    places = folders(tmp_path, {}, {"a": TRUTH})
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    turned = PREDICTION[::-1, ::-1].transpose(2, 0, 1)  # k, then i and j reversed
    turned_affine = np.zeros((4, 4))
    turned_affine[2, 0], turned_affine[0, 1], turned_affine[1, 2] = 3.0, -1.0, -2.0
    turned_affine[:, 3] = [7.0, 12.0, 0.0, 1.0]
    write_volume(places[0] / "a.nii.gz", Volume(turned, turned_affine))
    write_volume(places[0] / "plain" / "a.nii.gz", Volume(PREDICTION, affine))
    turned_case, plain_case = (
        evaluate(folder, *places[1:], labels=LABELS)["cases"][0]
        for folder in (places[0], places[0] / "plain")
    )
    assert (turned_case["reoriented"], plain_case["reoriented"]) == (True, False)
    assert turned_case["organs"] == plain_case["organs"]


def test_a_region_is_the_union_of_its_organs_on_both_sides(tmp_path):
    truth = blocks((600, (1, 1, 1)), (7, (4, 4, 3)))
    places = folders(tmp_path, {"a": PREDICTION}, {"a": truth})
    scoring = Scoring(regions={"both": ("liver", "spleen")})
    results = evaluate(
        *places, labels=LABELS, truth_labels={"liver": 600, "spleen": 7}, scoring=scoring
    )
    (case,) = results["cases"]
    assert results["labels"]["both"] == [1, 2]
    assert case["label_values"]["both"] == [7, 600]
    assert case["organs"]["both"]["dsc"] == pytest.approx(2 * 4 / (8 + 16))


def test_a_region_of_unknown_organs_is_refused_with_the_known_ones(tmp_path):
    places = folders(tmp_path, {"a": TRUTH}, {"a": TRUTH})
    with pytest.raises(UsageError, match="parts among liver, spleen, aorta, stomach, got core"):
        evaluate(*places, labels=LABELS, scoring=Scoring(regions={"tumour": ("core",)}))


def test_a_missing_prediction_can_count_as_one_that_found_nothing(tmp_path):
    places = folders(tmp_path, {"a": TRUTH}, {"a": TRUTH, "b": TRUTH})
    results = evaluate(*places, labels=LABELS, scoring=Scoring(missing_as_empty=True))
    assert results["failures"] == []
    assert results["cases"][1]["prediction"] is None
    assert results["summary"]["organs"]["liver"]["counts"]["missed"] == 1
    assert results["summary"]["mean"]["dsc"] == 0.5


def test_only_the_metrics_asked_for_are_measured_and_unknown_ones_refused(tmp_path):
    places = folders(tmp_path, {"a": TRUTH}, {"a": TRUTH})
    scoring = Scoring(metrics=("nsd", "iou"), tolerances_mm=(0.5, 3))
    results = evaluate(*places, labels=LABELS, scoring=scoring)
    assert set(results["metrics"]) == {"nsd_0.5mm", "nsd_3mm", "iou"}
    assert results["cases"][0]["organs"]["liver"].keys() == {"status", *results["metrics"]}
    assert not (places[2] / "summary.json").exists()
    with pytest.raises(UsageError, match=r"metrics: expected some of dsc, .* got dice"):
        Scoring(metrics=("dice",))


@needs_shared
@pytest.mark.parametrize("scan", ["ts_full", "ts_sm"])
@pytest.mark.parametrize("other", ["synapse8", "btcv13"])
def test_real_organs_agree_with_themselves_in_either_numbering(tmp_path, scan, other):
    data = SHARED / "data" / "abdomen_ct"
    named = json.loads((data / "labels.json").read_text())
    maps = {
        kind: {organ: int(value) for value, organ in named[kind].items()}
        for kind in ("synapse8", "btcv13")
    }
    results = evaluate(
        data / scan / "label_synapse8.nii.gz",
        data / scan / f"label_{other}.nii.gz",
        tmp_path,
        labels=maps["synapse8"],
        truth_labels=maps[other],
        images=data / scan / "image.nii.gz",
    )
    assert results["failures"] == []
    organs = results["summary"]["organs"]
    assert len(organs) == 8
    for organ in organs.values():
        assert organ["counts"]["scored"] == 1
        assert organ["dsc"]["mean"] == 1.0
        assert organ["hd95"]["mean"] == organ["hd95_directed"]["mean"] == 0.0
    volume = results["cases"][0]["organs"]["liver"]["volume_pred_ml"]
    voxels = named["voxels"][scan]["btcv13"]["liver"]
    assert volume == pytest.approx(voxels * np.prod(results["cases"][0]["spacing"]) / 1000)
