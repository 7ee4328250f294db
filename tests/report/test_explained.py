import json

import cv2
import numpy as np
import pytest

from medseg.cli import run
from medseg.errors import InputError, UsageError
from medseg.report.report import report
from tests.report.compared import comparison
from tests.report.example import five_cases, results, write
from tests.report.explained import record
from tests.report.page import page_of


@pytest.fixture
def place(tmp_path):
    """Results of five cases, and beside them one explanation of the first."""
    content = results(five_cases())
    write(tmp_path / "results", content)
    explain(tmp_path / "why", content["cases"][0]["case_id"])
    return tmp_path


def explain(folder, case, organ="liver", **changes):
    folder.mkdir(exist_ok=True)
    name = f"{case}_{organ}"
    files = {"picture": f"{name}.png", "page": f"{name}.html", "image": f"{case}.nii.gz"}
    content = record(organ=organ, **files) | changes
    (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / f"{name}.html").write_text("page")
    cv2.imwrite(str(folder / f"{name}.png"), np.full((40, 60, 3), 90, np.uint8))


def linked(page):
    return [tag["href"] for name, tag in page.tags if name == "a" and "why" in tag["href"]]


def test_explanations_are_shown_with_their_case_and_linked(place):
    first = results(five_cases())["cases"][0]["case_id"]
    explain(place / "why", first, organ="left kidney", against="spleen")
    written = report(place / "results", place / "a.html", explanations=place / "why")
    _, page = page_of(written)
    assert linked(page) == [f"why/{first}_left%20kidney.html", f"why/{first}_liver.html"]
    assert len([tag for name, tag in page.tags if name == "img"]) == 2
    assert "liver : near, far; slice 2 of the file." in page.text
    assert "rather than spleen" in page.text


def test_a_page_that_lies_elsewhere_is_named_and_not_linked(place):
    (place / "out").mkdir()
    written = report(place / "results", place / "out" / "a.html", explanations=place / "why")
    html, page = page_of(written)
    assert linked(page) == []
    assert "_liver.html" in page.text
    assert str(place) not in html


def test_without_images_explanations_are_only_linked(place):
    written = report(
        place / "results", place / "a.html", explanations=place / "why", images=False
    )  # fmt: skip
    _, page = page_of(written)
    assert linked(page)
    assert not [tag for name, tag in page.tags if name == "img"]


def test_an_explanation_of_no_case_and_a_picture_that_is_gone_are_said_to_be(place):
    explain(place / "why", "stranger")
    next((place / "why").glob("*_liver.png")).unlink()
    html, page = page_of(
        report(place / "results", place / "a.html", explanations=place / "why")
    )  # fmt: skip
    assert "left out: stranger.nii.gz" in page.text
    assert "is gone or damaged" in page.text
    assert "stranger_liver" not in html


def test_a_folder_without_explanations_and_a_comparison_are_refused(place, capsys):
    command = ["report", "-i", str(place / "results"), "-o", str(place / "a.html")]
    assert run([*command, "--explanations", str(place / "results"), "--no-progress"]) == 3
    assert "expected what medseg explain wrote" in capsys.readouterr().err
    with pytest.raises(InputError, match="no explanation; give its output folder"):
        report(place / "results", place / "a.html", explanations=place / "nowhere")
    assert not (place / "a.html").exists()
    (place / "two").mkdir()
    with pytest.raises(UsageError, match="one model, got a comparison"):
        report(comparison(place / "two"), place / "a.html", explanations=place / "why")
