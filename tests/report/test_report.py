import os
import re
import subprocess
import sys

import pytest

from medseg.errors import InputError, UsageError
from medseg.evaluation.evaluate import evaluate
from medseg.report.report import report
from tests.report.example import LABELS, case, entry, five_cases, results, write
from tests.report.page import page_of


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


def test_the_worst_the_median_and_the_best_case_are_shown_with_their_slices(written):
    _, page = page_of(written)
    headings = re.findall(r"(Worst|Median|Best) case: (\w+) mean DSC ([\d.]+)", page.text)
    assert headings == [("Worst", "c", "0.450"), ("Median", "a", "0.700"), ("Best", "b", "0.950")]
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


def test_a_missing_image_is_said_and_the_contours_are_drawn(tmp_path):
    folder = write(tmp_path / "results", results(five_cases()))
    (folder / "image" / "c.nii.gz").unlink()
    _, page = page_of(report(folder, tmp_path / "page.html"))
    assert "The image is not shown, only the contours." in page.text
    assert "c.nii.gz: expected a file, got no such file" in page.text
    assert len([tag for tag, _ in page.tags if tag == "article"]) == 3


def test_missing_and_damaged_volumes_are_said_and_the_page_is_written(tmp_path):
    folder = write(tmp_path / "results", results(five_cases()))
    (folder / "label" / "a.nii.gz").unlink()
    prediction = folder / "pred" / "c.nii.gz"
    prediction.write_bytes(prediction.read_bytes()[:60])
    _, page = page_of(report(folder, tmp_path / "page.html"))
    notices = re.findall(r"No slices of this case can be shown\. (\S+) expected", page.text)
    assert notices == ["c.nii.gz:", "a.nii.gz:"]


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
    assert heard == [(0, 4), (1, 4), (2, 4), (4, 4)]


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
        row.startswith("liver 0.800 ± 0.000 [0.800, 0.800] 0.800 2.00")
        for row in page.rows(html, "organs")
    )
    mean = next(row for row in page.rows(html, "organs") if row.startswith("Mean over organs"))
    assert mean.startswith("Mean over organs 0.681 [")
    assert "c: left kidney missed" in page.text
    assert "Worst case: c mean DSC 0.400" in page.text
    assert 'class="notice">' not in html


def test_subgroups_have_a_table_per_metric(tmp_path):
    content = results(five_cases())
    part = {"mean": 0.75, "median": 0.75, "ci_low": 0.6, "ci_high": 0.9, "n": 3}
    group = {"cases": 3, "organs": {"liver": {"dsc": part}}, "mean": {"dsc": part | {"n": 1}}}
    content["subgroups"] = {
        "column": "scanner", "groups": {"A": group, "<i>": group | {"cases": 1}},
        "notices": ["e belongs to no group"],
    }  # fmt: skip
    html, page = page_of(report(write(tmp_path, content), tmp_path / "page.html"))
    rows = page.rows(html, "groups")
    assert rows[0] == "Organ A 3 cases <i> 1 case"
    assert rows[1] == "liver 0.750 [0.600, 0.900] n = 3 0.750 [0.600, 0.900] n = 3"
    assert rows[2] == "left kidney – n = 0 – n = 0"
    assert "Subgroups by scanner" in page.text
    assert "e belongs to no group" in page.text
    assert "<i>" not in html
