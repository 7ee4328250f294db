import json
from pathlib import Path

import pytest

from medseg.case import Case, read_cases, write_cases
from medseg.errors import InputError


def test_a_case_list_returns_the_cases_it_was_written_from(tmp_path):
    cases = [
        Case(
            "a", tmp_path / "a.nii.gz", tmp_path / "a_seg.nii.gz", {"liver": 6}, "p1", {"sex": "F"}
        ),
        Case("b", (tmp_path / "b0.npz", tmp_path / "b1.npz")),
    ]
    write_cases(tmp_path / "cases.json", cases)
    assert read_cases(tmp_path / "cases.json") == cases


def test_relative_paths_start_at_the_list(tmp_path):
    (tmp_path / "cases.json").write_text('{"cases": [{"case_id": "a", "image": "img/a.nii"}]}')
    assert read_cases(tmp_path / "cases.json")[0].image == tmp_path / "img" / "a.nii"


def test_a_case_without_a_named_patient_is_its_own_patient():
    assert Case("a", Path("a.nii")).patient == "a"
    assert Case("a", Path("a.nii"), patient_id="p").patient == "p"


@pytest.mark.parametrize(
    "content", [[], {"cases": 3}, {"cases": [{"case_id": "a"}]}, {"cases": [1]}]
)
def test_what_is_no_case_list_is_refused(tmp_path, content):
    (tmp_path / "cases.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"cases\.json: expected"):
        read_cases(tmp_path / "cases.json")
