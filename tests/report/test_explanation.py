import base64
import hashlib
import json
import re
from importlib import import_module

import pytest

from tests.report.explained import explanation
from tests.report.page import page_of


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return explanation(tmp_path_factory.mktemp("page") / "ct_liver.html")


def test_the_policy_allows_the_page_its_own_script_and_no_connection(written):
    html, page = page_of(written)
    (policy,) = [tag["content"] for _, tag in page.tags if "http-equiv" in tag]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script")
    script = page.scripts[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert re.findall(r"'sha256-([^']+)'", policy) == [digest]
    assert "http:" not in html.replace("http-equiv", "")
    assert "https:" not in html


def test_the_page_says_what_was_asked_and_what_each_method_can_and_cannot_say(tmp_path):
    path = explanation(tmp_path / "a.html", against="spleen", voxel=[1, 2, 3])
    _, page = page_of(path)
    for words in (
        "liver rather than spleen", "ct.nii.gz", "voxel 1, 2, 3 of the file", "near , 0.2 s",
        "3 slices, from 1 to 3 of the file", "Option heads mean", "Target in slices 1 to 3",
        "What it cannot say", "1.0",
        '--organ "liver" --method all --compare',
    ):  # fmt: skip
        assert words in page.text, words
    assert "None" not in page.text


def test_the_page_links_what_was_measured_if_it_lies_beside_it(tmp_path):
    assert "compare.html" not in explanation(tmp_path / "a.html").read_text()
    (tmp_path / "compare.html").write_text("measured")
    assert 'href="compare.html"' in explanation(tmp_path / "b.html").read_text()


def test_no_name_ends_the_data_or_becomes_a_tag(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    _, page = page_of(explanation(tmp_path / "a.html", organ=evil, image=evil, region=evil))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert evil in page.text
    assert json.loads(page.scripts[0])["slices"]


def test_one_slice_needs_no_slider(tmp_path):
    html = explanation(tmp_path / "a.html", slices=[3]).read_text()
    assert 'id="slice"' not in html
    assert "slices" in html


def test_a_page_stays_within_its_size_and_says_what_was_left_out(tmp_path, monkeypatch):
    whole = explanation(tmp_path / "a.html").stat().st_size
    module = import_module("medseg.report.explanation")
    monkeypatch.setattr(module, "PAGE_BYTES", whole)
    monkeypatch.setattr(module, "TEXT_BYTES", whole - 5000)
    html, page = page_of(explanation(tmp_path / "b.html"))
    assert len(html.encode()) < whole
    assert "To keep the page small, only one in" in page.text
