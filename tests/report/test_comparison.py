import json
import re

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.report.comparison import most_different
from medseg.report.report import report
from medseg.report.side_by_side import most_disputed
from tests.report.compared import NAMES, comparison
from tests.report.page import page_of


@pytest.fixture
def source(tmp_path):
    return comparison(tmp_path / "compared")


def test_the_page_holds_differences_verdicts_and_regressions(tmp_path, source):
    html, page = page_of(report(source, tmp_path / "page.html"))
    pair = page.rows(html, "pair-0")
    assert (
        "liver 5 0.125 [−0.125, 0.375] 0.062 3 / 1 / 1 0.50 0.2500 0.5000 no difference shown"
        in pair
    )
    assert any(row.startswith("mean over organs 5 0.250") for row in pair)
    assert any(row.endswith("0.0123 new <b> better") for row in pair)
    assert "d liver 0.900 0.800 −0.100 scored → missed" in pair
    assert "c, left kidney: missed → scored" in page.text
    assert "old 0.500 1 50 %" in page.rows(html, "models")
    assert "One case was left out." in page.text
    assert page.open == []


def test_a_name_of_a_model_stays_text(tmp_path, source):
    html, _ = page_of(report(source, tmp_path / "page.html"))
    assert "<b>" not in html.split("<main")[1].replace("</b>", "")
    assert "new &lt;b&gt;" in html


def test_the_same_slice_is_drawn_once_per_model_for_cases_that_differ(tmp_path, source):
    html, page = page_of(report(source, tmp_path / "page.html"))
    look = html[html.index('id="look"') :]
    # c differs by 0.5 and d by 0.05, the other three not at all
    assert re.findall(r"<h3>(\w)</h3>", look) == ["c", "d"]
    assert sum(tag == "image" for tag, _ in page.tags) == 2 * len(NAMES)
    assert "Largest difference between the models" in page.text


def test_without_images_no_slice_is_shown(tmp_path, source):
    html, page = page_of(report(source, tmp_path / "page.html", images=False))
    assert "base64" not in html
    assert "left out of this page on request" in page.text


def test_results_that_are_gone_are_said_without_their_folder(tmp_path, source):
    (source.parent / "model 1" / "results.json").unlink()
    html, page = page_of(report(source.parent, tmp_path / "page.html"))
    assert "new <b> cannot be shown. results.json: expected a JSON file" in page.text
    assert sum(tag == "image" for tag, _ in page.tags) == 2
    assert str(tmp_path) not in html


def test_a_comparison_of_another_form_is_refused(tmp_path, source):
    content = json.loads(source.read_text())
    content["pairs"][0]["metrics"]["dsc"]["mean"]["p"] = "small"
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match="a number or null as 'p' in dsc of 'new <b>'"):
        report(source, tmp_path / "page.html")
    del content["ranking"]
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"'ranking' \(dict\) in comparison"):
        report(source, tmp_path / "page.html")


def test_cases_are_ordered_by_how_far_the_models_lie_apart():
    means = {"x": [0.5, None, 0.9, 0.1, 0.3], "y": [0.5, 0.2, 0.1, 0.2, 0.3]}
    assert most_different("abcde", means) == [(2, "c"), (3, "d")]


def test_the_slice_with_most_voxels_in_dispute_is_chosen():
    one = np.zeros((4, 4, 5), np.uint8)
    one[1:3, 1:3, 0:2] = 1
    other = one.copy()
    assert most_disputed([one, other]) == 0
    other[0, 0, 3] = 1
    third = one.copy()
    third[0:2, 0, 4] = 2
    assert most_disputed([one, other, third]) == 4
