import json

import numpy as np
import pytest

from medseg.cli.tables import show_subgroups
from medseg.errors import InputError, UsageError
from medseg.evaluation.statistics import confidence, confidence_of_mean
from medseg.evaluation.subgroups import split_column, subgroup_rows, subgroups
from tests.evaluation.results import ABSENT, DIAGONAL, INVENTED, METRICS, MISSED, results

RESULTS = results(
    {
        "liver": [0.9, 0.8, MISSED, 0.6, 0.7],
        "spleen": [0.5, ABSENT, 0.7, INVENTED, ABSENT],
    },
    metrics=METRICS,
)
SCANNERS = "case_id,scanner\ncase_0,B\ncase_1,A\ncase_2,B\ncase_3,A\ncase_4,B\n"
NAN = float("nan")


def csv(tmp_path, text, name="cohort.csv", **options):
    path = tmp_path / name
    path.write_text(text, **options)
    return path


def test_figures_of_two_scanners_by_hand(tmp_path):
    found = subgroups(RESULTS, csv(tmp_path, SCANNERS))
    assert found["column"] == "scanner"
    assert list(found["groups"]) == ["A", "B"]
    a, b = found["groups"].values()
    assert (a["cases"], b["cases"]) == (2, 3)
    assert b["organs"]["liver"]["counts"] == {
        "scored": 2, "missed": 1, "false_positive": 0, "absent": 0,
    }  # fmt: skip
    liver = b["organs"]["liver"]["dsc"]
    assert liver["mean"] == pytest.approx((0.9 + 0.0 + 0.7) / 3)
    assert (liver["median"], liver["n"]) == (0.7, 3)
    assert b["organs"]["liver"]["hd95"]["mean"] == pytest.approx((1 + DIAGONAL + 3) / 3)
    assert a["organs"]["spleen"]["dsc"] == {
        "mean": 0.0, "median": 0.0, "ci_low": None, "ci_high": None, "n": 1,
    }  # fmt: skip
    assert a["mean"]["dsc"]["mean"] == pytest.approx((0.7 + 0.0) / 2)
    assert a["mean"]["counts"]["false_positive"] == 1
    assert "volume_pred_ml" not in b["organs"]["liver"]
    assert (found["without_group"], found["unknown"], found["notices"]) == ([], [], [])


def test_intervals_are_those_of_the_cases_of_a_group(tmp_path):
    found = subgroups(RESULTS, csv(tmp_path, SCANNERS), resamples=300, level=0.9, seed=2)
    values = np.array([[0.9, 0.5], [0.0, 0.7], [0.7, NAN]])
    low, high = confidence(values, resamples=300, level=0.9, seed=2)
    group = found["groups"]["B"]
    for index, organ in enumerate(("liver", "spleen")):
        entry = group["organs"][organ]["dsc"]
        assert (entry["ci_low"], entry["ci_high"]) == (low[index], high[index])
    ends = confidence_of_mean(values, resamples=300, level=0.9, seed=2)
    assert (group["mean"]["dsc"]["ci_low"], group["mean"]["dsc"]["ci_high"]) == ends


def test_what_is_found_goes_into_json(tmp_path):
    found = subgroups(RESULTS, csv(tmp_path, SCANNERS))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_cases_without_a_group_and_unknown_cases_are_named(tmp_path):
    found = subgroups(RESULTS, csv(tmp_path, "id,sex\ncase_0,f\ncase_1,\nnobody,m\ncase_3,m\n"))
    assert {name: group["cases"] for name, group in found["groups"].items()} == {"f": 1, "m": 1}
    assert found["without_group"] == ["case_1", "case_2", "case_4"]
    assert found["unknown"] == ["nobody"]
    one, other = found["notices"]
    assert "without a sex" in one
    assert "case_1, case_2, case_4" in one
    assert "nobody" in other


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_quotes_byte_order_marks_and_blank_lines(tmp_path, delimiter):
    lines = [
        ["scanner", "case_id", "note"],
        ["X 1", "case_0", '"a, b; c"'],
        [],
        ["Y", "case_1", ""],
    ]
    text = "\r\n".join(delimiter.join(line) for line in lines) + "\r\n"
    path = csv(tmp_path, text, encoding="utf-8-sig", newline="")
    assert list(subgroups(RESULTS, path, by="scanner")["groups"]) == ["X 1", "Y"]


def test_numbers_are_groups_in_their_order_and_many_of_them_are_remarked_on(tmp_path):
    ages = {"liver": [0.5] * 20}
    lines = "".join(f"case_{index},{3 * index}\n" for index in range(20))
    found = subgroups(results(ages), csv(tmp_path, "case_id,age\n" + lines))
    assert list(found["groups"])[:5] == ["0", "3", "6", "9", "12"]
    assert "20 in all" in found["notices"][0]


def test_the_table_has_a_line_per_group_and_organ_and_shows(tmp_path, capsys):
    found = subgroups(RESULTS, csv(tmp_path, SCANNERS))
    header, body = subgroup_rows(found)
    assert header[:7] == ["scanner", "organ", "n", "scored", "missed", "false pos.", "absent"]
    assert header[7:9] == ["dsc mean", "dsc median"]
    assert [line[:3] for line in body] == [
        ["A", "liver", "2"], ["A", "spleen", "1"], ["A", "mean of 2 cases", "3"],
        ["B", "liver", "3"], ["B", "spleen", "2"], ["B", "mean of 3 cases", "5"],
    ]  # fmt: skip
    assert body[1][7:9] == ["0.000", "0.000"]
    assert body[0][7].startswith("0.700 [0.600, ")
    assert all(len(line) == len(header) for line in body)
    show_subgroups(found)
    assert "spleen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "by", "error", "said"),
    [
        (SCANNERS, "sex", UsageError, "one of scanner, got 'sex'"),
        ("case_id,a,b\ncase_0,1,2\n", None, UsageError, "one of a, b"),
        ("case_id,a\nnobody,1\n", None, InputError, "such as case_0, case_1.*none of them"),
        ("case_id,a\ncase_0,1\ncase_0,2\n", None, InputError, "one a of case case_0, got '1' and"),
        ("case_id,a\ncase_0\n", None, InputError, "2 fields in line 2"),
        ("case_id\ncase_0\n", None, InputError, "a header"),
        ("case_id,a\n", None, InputError, "a header"),
        ("", None, InputError, "a header"),
    ],
)
def test_what_cannot_be_grouped_by_is_refused(tmp_path, text, by, error, said):
    with pytest.raises(error, match=said):
        subgroups(RESULTS, csv(tmp_path, text), by=by)


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        subgroups(RESULTS, tmp_path / "none.csv")
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        subgroups(RESULTS, tmp_path / "image.csv")


def test_a_column_is_named_behind_a_colon(tmp_path):
    path = csv(tmp_path, SCANNERS, name="a:b.csv")
    assert split_column(str(path)) == (path, None)
    assert split_column(f"{path}:scanner") == (path, "scanner")
    assert split_column("cohort.csv")[1] is None
