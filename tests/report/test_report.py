import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from medseg.errors import InputError, UsageError
from medseg.evaluation.evaluate import evaluate
from medseg.report.report import report
from tests.report.example import LABELS, case, entry, five_cases, results, write, write_run

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """A page taken apart: its tags with attributes, and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.texts, self.scripts = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def rows(self, html, section):
        part = html[html.index(f'id="{section}"') :]
        part = part[: part.index("</section>")]
        return [Page(row).text for row in re.findall(r"<tr>.*?</tr>", part, re.DOTALL)]


def page_of(path):
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    failures = [{"case_id": "f", "error": "the file is truncated"}]
    write(folder / "results", results(five_cases(), failures=failures))
    run = write_run(folder / "runs" / "first")
    return report(folder / "results", folder / "page.html", run=run)


def test_the_page_refers_to_nothing_outside_itself(written):
    html, page = page_of(written)
    links = [
        attrs[name]
        for _, attrs in page.tags
        for name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster")
        if attrs.get(name)
    ]
    assert links
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "http://" not in html
    assert "https://" not in html


def test_every_element_is_closed_and_every_id_is_used_once(written):
    _, page = page_of(written)
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for tag, attrs in page.tags if tag in ("a", "use")}
    assert targets <= set(ids)


def test_the_headline_and_the_table_hold_the_figures_of_the_results(written):
    html, page = page_of(written)
    rows = page.rows(html, "organs")
    # liver: (0.8 + 0.95 + 0.9 + 0.9 + 0.7) / 5 and (4 + 1 + 2 + 2 + 5) / 5
    liver = next(row for row in rows if row.startswith("liver"))
    assert liver == "liver 0.850 ± 0.100 0.900 2.80 2.80 3.30 3.30 5 0 0 0"
    # kidney: (0.6 + 0 + 0.8 + 0.52) / 4; (8 + 86.2 + 3 + 9) / 4 against (8 + 3 + 9) / 3
    kidney = next(row for row in rows if row.startswith("left kidney"))
    assert kidney == "left kidney 0.480 ± 0.341 0.560 26.55 6.67 26.93 7.17 3 ✕ 1 0 1"
    assert rows[-1] == "Mean over organs 0.665 14.68 4.73 15.11 5.23 8 1 0 1"
    assert "Mean DSC 0.665 mean over 2 organs" in page.text
    assert "Organs found 8 of 9 ✕ 1 missed ; 0 false positive; 1 absent in both" in page.text
    assert "Mean HD95 14.68 mm" in page.text


def test_the_conventions_are_told_in_words(written):
    _, page = page_of(written)
    for words in ("MedPy", "MONAI", "native grid", "diagonal of its image", "hd95 rule"):
        assert words in page.text


def test_a_missed_organ_is_spelled_out(written):
    html, page = page_of(written)
    assert "c: left kidney missed" in page.text
    assert any(row.startswith("c 0.450 0.900 ✕ missed") for row in page.rows(html, "cases"))
    assert any(row.endswith("absent") for row in page.rows(html, "cases"))


def test_the_worst_and_the_median_case_are_shown_with_their_slices(written):
    _, page = page_of(written)
    headings = re.findall(r"(Worst|Median) case: (\w+) mean DSC ([\d.]+)", page.text)
    assert headings == [("Worst", "c", "0.450"), ("Median", "a", "0.700")]
    images = [attrs for tag, attrs in page.tags if tag == "image"]
    assert len(images) >= 2
    assert "soft tissue window −160 to 240 HU" in page.text
    assert "No slices" not in page.text
    assert "does not hold" not in page.text
    kinds = [attrs.get("class") for tag, attrs in page.tags if tag == "path"]
    assert {"truth", "prediction"} <= set(kinds)


def test_failed_cases_are_listed_and_counted(written):
    _, page = page_of(written)
    assert "f the file is truncated" in page.text
    assert "✕ 1 more failed" in page.text


def test_the_run_gives_curves_network_and_config(written):
    _, page = page_of(written)
    for words in (
        "TransUNet: segmentation of 5 cases",
        "Loss per iteration",
        "900 iterations; loss 1.000 at first, 0.001 at last",
        "Best mean 0.450 after epoch 4.",
        "At the end: training 0.250, validation 0.375.",
        "# <b>not bold</b>",
        "ab" * 32,
    ):
        assert words in page.text


def test_names_from_files_stay_text(tmp_path):
    evil = "<script>alert(1)</script>"
    organ = "\"><img src=x onerror=alert(2)>' liver"
    cases = [case(evil, **{organ: entry(dsc=0.5, hd95=1.0)})]
    content = results(cases, labels={organ: 1}, failures=[{"case_id": evil, "error": evil}])
    content["metrics"]["dsc"]["convention"] = evil
    write(tmp_path / "results", content, files=False)
    run = write_run(tmp_path / "run")
    (run / "config.yaml").write_text(evil)
    card = {"network": {"_target_": evil}, "provenance": {evil: evil}, "weights_sha256": evil}
    (run / "model" / "model.json").write_text(json.dumps(card))
    html, page = page_of(
        report(tmp_path / "results", tmp_path / "page.html", run=run, title=evil + "{{ 7 * 7 }}")
    )
    assert "<script>alert" not in html
    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]
    assert not any(tag == "img" or "onerror" in attrs for tag, attrs in page.tags)
    assert f"{evil}{{{{ 7 * 7 }}}}" in page.text
    assert organ in page.text


def test_a_missing_image_is_said_and_the_contours_are_drawn(tmp_path):
    folder = write(tmp_path / "results", results(five_cases()))
    (folder / "image" / "c.nii.gz").unlink()
    _, page = page_of(report(folder, tmp_path / "page.html"))
    assert "The image is not shown, only the contours." in page.text
    assert "c.nii.gz: expected a file, got no such file" in page.text
    assert len([tag for tag, _ in page.tags if tag == "article"]) == 2


def test_missing_and_damaged_volumes_are_said_and_the_page_is_written(tmp_path):
    folder = write(tmp_path / "results", results(five_cases()))
    (folder / "label" / "a.nii.gz").unlink()
    prediction = folder / "pred" / "c.nii.gz"
    prediction.write_bytes(prediction.read_bytes()[:60])
    _, page = page_of(report(folder, tmp_path / "page.html"))
    notices = re.findall(r"No slices of this case can be shown\. \S+ expected", page.text)
    assert [re.search(r"(\w/\w)\.nii", notice).group(1) for notice in notices] == ["d/c", "l/a"]


def test_results_without_cases_make_a_page(tmp_path):
    folder = write(tmp_path / "results", results([]))
    _, page = page_of(report(folder, tmp_path / "page.html"))
    assert "There is no evaluated case" in page.text
    assert "Mean DSC –" in page.text


def test_one_case_and_one_organ_make_a_page(tmp_path):
    content = results([case("only", liver=entry(dsc=1.0, hd95=0.0))], labels={"liver": 1})
    _, page = page_of(report(write(tmp_path, content), tmp_path / "page.html"))
    assert "The only case: only" in page.text
    assert "mean over 1 organ;" in page.text
    assert "No organ was missed and none invented." in page.text


def test_an_organ_that_a_truth_does_not_name_is_said_and_not_counted(tmp_path):
    cases = [case("a", liver=entry(dsc=0.5, hd95=1.0)) | {"not_in_truth": ["left kidney"]}]
    html, page = page_of(report(write(tmp_path, results(cases)), tmp_path / "page.html"))
    assert any(row.startswith("a 0.500 0.500 not in truth") for row in page.rows(html, "cases"))
    assert "mean over 1 organ of 2;" in page.text


def test_a_case_with_nothing_to_measure_is_not_ranked(tmp_path):
    cases = [case("a", liver=entry("absent"), left_kidney=entry("absent"))]
    _, page = page_of(report(write(tmp_path, results(cases)), tmp_path / "page.html"))
    assert "No case has an organ to measure." in page.text


def test_progress_ends_at_its_total(tmp_path):
    heard = []

    def listen(task, done, total, note=""):
        heard.append((done, total))

    folder = write(tmp_path, results(five_cases()))
    report(folder, tmp_path / "page.html", progress=listen)
    assert heard == [(0, 3), (1, 3), (3, 3)]


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    folder = write(tmp_path / "results", results(five_cases()), files=False)
    page = tmp_path / "page.html"
    page.write_text("old")

    def fail(*args):
        raise OSError("no flush")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no flush"):
        report(folder, page)
    assert page.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "results"]


def test_an_output_that_is_a_folder_is_refused(tmp_path):
    folder = write(tmp_path, results([]), files=False)
    with pytest.raises(UsageError, match="expected an HTML file to write, got a folder"):
        report(folder, folder)


def test_missing_results_and_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"results\.json: expected a JSON file"):
        report(tmp_path, tmp_path / "page.html")
    write(tmp_path, results([]))
    with pytest.raises(InputError, match="expected a run folder, got no such folder"):
        report(tmp_path, tmp_path / "page.html", run=tmp_path / "run")
    assert not (tmp_path / "page.html").exists()


def test_a_run_folder_without_history_is_said(tmp_path):
    write(tmp_path / "results", results([]))
    (tmp_path / "run").mkdir()
    _, page = page_of(report(tmp_path / "results", tmp_path / "page.html", run=tmp_path / "run"))
    assert "The run folder holds no history.csv" in page.text


def test_the_report_needs_no_torch():
    code = "import sys, medseg.report.report; print({'torch', 'monai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_evaluation_writes_is_understood(tmp_path):
    folder = write(tmp_path / "data", results(five_cases()))
    evaluate(folder / "pred", folder / "label", tmp_path, labels=LABELS, images=folder / "image")
    html, page = page_of(report(tmp_path, tmp_path / "page.html"))
    # every liver is a 5 × 6 × 3 box predicted one voxel aside: 2 · 72 / (90 + 90)
    assert any(
        row.startswith("liver 0.800 ± 0.000 0.800 2.00") for row in page.rows(html, "organs")
    )
    assert "c: left kidney missed" in page.text
    assert "Worst case: c mean DSC 0.400" in page.text
    assert 'class="notice">' not in html
