"""The files an evaluation writes."""

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import medseg
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.score import Scoring
from tests.evaluation.files import blocks, save

LABELS = {"liver": 1, "spleen": 2}
SCHEMA = json.loads(
    (Path(medseg.__file__).parent / "evaluation" / "results.schema.json").read_text()
)


@pytest.fixture
def written(tmp_path):
    save(tmp_path / "out" / "a.nii.gz", blocks((1, (2, 1, 1))))
    save(tmp_path / "truth" / "a.nii.gz", blocks((1, (1, 1, 1)), (2, (4, 4, 3))))
    save(tmp_path / "out" / "b.nii.gz", blocks((1, (2, 1, 1))))
    save(tmp_path / "truth" / "b.nii.gz", blocks((1, (2, 1, 1))))
    save(tmp_path / "truth" / "c.nii.gz", blocks((1, (2, 1, 1))))
    scoring = Scoring(conventions=("transunet", "monai"), regions={"all": ("liver", "spleen")})
    output = tmp_path / "results"
    evaluate(tmp_path / "out", tmp_path / "truth", output, labels=LABELS, scoring=scoring)
    return output


def test_results_are_of_the_published_schema(written):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    results = json.loads((written / "results.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(results)
    assert len(results["failures"]) == 1


def test_the_schema_refuses_an_unknown_status(written):
    results = json.loads((written / "results.json").read_text())
    results["cases"][0]["organs"]["liver"]["status"] = "perfect"
    with pytest.raises(jsonschema.ValidationError, match="perfect"):
        jsonschema.Draft202012Validator(SCHEMA).validate(results)


def test_the_summary_counts_voxels_as_nnunet_does(written):
    summary = json.loads((written / "summary.json").read_text())
    first, second = summary["metric_per_case"]
    assert first["prediction_file"].endswith("out/a.nii.gz")
    assert first["metrics"]["1"] == {
        "Dice": 0.5, "IoU": 1 / 3, "TP": 4, "FP": 4, "FN": 4, "TN": 8 * 7 * 6 - 12,
        "n_pred": 8, "n_ref": 8,
    }  # fmt: skip
    assert first["metrics"]["(1, 2)"]["n_ref"] == 16
    assert math.isnan(second["metrics"]["2"]["Dice"])
    assert summary["mean"]["1"]["Dice"] == 0.75
    assert summary["mean"]["2"]["Dice"] == 0.0
    dice = [summary["mean"][key]["Dice"] for key in ("1", "2", "(1, 2)")]
    assert summary["foreground_mean"]["Dice"] == pytest.approx(np.mean(dice))


def test_tables_name_the_columns_of_other_programs_and_their_units(written):
    header = (written / "results.csv").read_text().splitlines()[0].split(",")
    assert header[:3] == ["case_id", "organ", "status"]
    assert {"hd95_pooled_mm", "assd_mm", "transunet_hd95_vox", "monai_dice"} <= set(header)


def test_the_table_for_papers_holds_the_means(written):
    text = (written / "results.tex").read_text()
    results = json.loads((written / "results.json").read_text())
    assert "liver" in text
    assert f"{100 * results['summary']['mean']['dsc']:.2f}" in text
