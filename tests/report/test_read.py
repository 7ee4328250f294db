import copy
import json
import math

import pytest

from medseg.errors import InputError
from medseg.report.read import read_columns, read_results, read_run
from tests.report.example import five_cases, results, write_run

GOOD = results(five_cases())


def changed(change):
    content = copy.deepcopy(GOOD)
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "a mapping for results, got list"),
        ({}, "'labels' (dict) in results, got nothing of that name"),
        (changed(lambda c: c.update(cases={})), "'cases' (list) in results, got dict"),
        (changed(lambda c: c["summary"].pop("mean")), "'mean' (dict) in summary"),
        (changed(lambda c: c["summary"]["mean"].pop("hd95")), "'hd95' in the mean over the organs"),
        (changed(lambda c: c["summary"]["organs"].pop("liver")), "mapping for the summary of 'liv"),
        (
            changed(lambda c: c["summary"]["organs"]["liver"]["counts"].update(missed="two")),
            "'missed' (int) in the summary of 'liver', got str",
        ),
        (
            changed(lambda c: c["summary"]["organs"]["liver"]["dsc"].update(mean=[1])),
            "'mean' in dsc in the summary of 'liver', got [1]",
        ),
        (changed(lambda c: c["cases"].append(3)), "a mapping for a case, got int"),
        (changed(lambda c: c["cases"][1].pop("case_id")), "'case_id' (str) in a case"),
        (
            changed(lambda c: c["cases"][1]["organs"].pop("liver")),
            "a mapping for case 'b', organ 'liver', got NoneType",
        ),
        (
            changed(lambda c: c["cases"][0]["organs"]["liver"].update(status="lost")),
            "absent in case 'a', organ 'liver', got lost",
        ),
        (
            changed(lambda c: c["cases"][0]["organs"]["liver"].update(dsc=math.nan)),
            "'dsc' in case 'a', organ 'liver', got nan",
        ),
        (changed(lambda c: c["metrics"].update(dsc=1)), "a mapping for metric 'dsc', got int"),
        (changed(lambda c: c.update(failures=["a"])), "a mapping for a failure, got str"),
    ],
)
def test_results_of_another_form_are_refused_with_the_place(tmp_path, content, complaint):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as refused:
        read_results(path)
    assert complaint in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="expected valid JSON"):
        read_results(tmp_path / "results.json")


def test_empty_fields_are_nan(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    assert run.history["train_loss"] == [1.0, 0.5, pytest.approx(1 / 3, abs=1e-6), 0.25]
    assert math.isnan(run.history["val_dsc"][0])
    assert run.history["dsc_left kidney"][3] == 0.44
    assert run.config.startswith("seed: 7")


def test_a_field_that_is_no_number_is_refused_with_its_line(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,val_dsc\n1,0.5\n2,good\n")
    with pytest.raises(InputError, match="a number for 'val_dsc' in line 3, got 'good'"):
        read_columns(path)


def test_a_half_empty_run_folder_is_read(tmp_path):
    run = read_run(tmp_path)
    assert (run.config, run.model, run.history, run.iterations) == ("", {}, {}, {})
