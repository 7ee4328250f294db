import base64
import hashlib
import json
import re
import sys

from medseg.files import sha256
from medseg.report.render import VENDOR
from medseg.report.report import report
from tests.report.example import case, enriched, entry, five_cases, results, write, write_run
from tests.report.page import page_of


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
    data = [attrs["type"] for tag, attrs in page.tags if tag == "script" and "type" in attrs]
    assert data == ["application/json"] * len(data)  # one more script than data: the page's own
    assert [tag for tag, _ in page.tags].count("script") == len(data) + 1
    assert "alert" not in "".join(page.scripts)
    assert not any(tag == "img" or "onerror" in attrs for tag, attrs in page.tags)
    assert f"{evil}{{{{ 7 * 7 }}}}" in page.text
    assert organ in page.text


def test_newer_results_bring_every_metric_with_intervals_and_settings(tmp_path):
    content = enriched(results(five_cases()))
    html, page = page_of(report(write(tmp_path, content, files=False), tmp_path / "page.html"))
    rows = page.rows(html, "organs")
    assert any(row.startswith("liver 0.850 ± 0.100 [0.111, 0.999]") for row in rows)
    nsd = next(row for row in rows if row.startswith("NSD at 1 mm"))
    assert "0.250 [0.200, 0.300] scored 0.500" in nsd
    assert any(row.startswith("Volume difference, ml −1.50") for row in rows)
    assert any(row.startswith("transunet_dice 0.8125 – 0.8125") for row in rows)
    cases = page.rows(html, "cases")
    assert cases[0] == (
        "Case DSC HD95, mm HD95 directed, mm NSD at 1 mm ASSD, mm Lesions missed "
        "Volume difference, ml"
    )
    assert cases[3].startswith("c 0.450 44.10 44.35 0.225 43.35 1.0 −1.50")
    for words in ("tolerances_mm 1.0", "regions both = 1, 5", "subgroups none", "numpy 2.1",
                  "label c.nii.gz", "ef" * 32, "within 1 mm", "Columns of transunet"):  # fmt: skip
        assert words in page.text


def test_any_subset_of_the_metrics_makes_a_page(tmp_path):
    content = results(five_cases())
    del content["metrics"]["dsc"], content["metrics"]["hd95"]
    for part in (*content["summary"]["organs"].values(), content["summary"]["mean"]):
        part.pop("dsc"), part.pop("hd95")
    for one in content["cases"]:
        for figures in one["organs"].values():
            figures.pop("dsc"), figures.pop("hd95")
    _, page = page_of(report(write(tmp_path, content, files=False), tmp_path / "page.html"))
    assert "Organs found 8 of 9" in page.text
    assert "No case has an organ to measure." in page.text


def test_every_case_has_a_part_and_links_there_and_back(written):
    _, page = page_of(written)
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    for number in range(5):
        assert {f"row-{number}", f"case-{number}"} <= ids
        assert links.count(f"#case-{number}") == 2
        assert links.count(f"#row-{number}") == 1


def test_without_images_no_volume_is_read_and_nothing_of_them_is_shown(tmp_path, monkeypatch):
    folder = write(tmp_path / "results", results(five_cases()))
    scene = sys.modules["medseg.report.scene"]
    monkeypatch.setattr(scene, "read_volume", None)  # to call it would be an error
    html, page = page_of(report(folder, tmp_path / "page.html", images=False))
    assert not {"image", "canvas", "path"} & {tag for tag, _ in page.tags}
    assert "base64" not in html
    assert "niivue" not in html.lower()
    assert "left out of this page on request" in page.text
    assert "Worst case: c" in page.text


def test_no_folder_stands_in_the_page(tmp_path):
    home = tmp_path / "jane roe" / "clinic"
    content = results(five_cases(), failures=[{"case_id": "f", "error": f"{home}/f.nii: torn"}])
    for one in content["cases"]:
        for key in ("prediction", "label", "image"):
            one[key] = str(home / one[key])
    write(home, content)
    (home / "label" / "a.nii.gz").unlink()
    run = write_run(home / "run 1")
    (run / "config.yaml").write_text(f"root: {home}/data\nother: /home/jroe/x y/z.json\n")
    html, page = page_of(report(home, tmp_path / "page.html", run=run))
    assert not re.search("jane|jroe|clinic", html)
    assert "f.nii: torn" in page.text
    assert "root: data other: …/z.json" in page.text
    assert "a.nii.gz: expected" in page.text


def test_a_page_that_grows_too_large_drops_its_viewers_and_says_so(tmp_path, monkeypatch):
    folder = write(tmp_path / "results", results(five_cases()))
    html, _ = page_of(report(folder, tmp_path / "page.html"))
    assert html.count('class="viewer"') == 3
    monkeypatch.setattr(sys.modules["medseg.report.report"], "PAGE_BYTES", len(html) - 1)
    html, page = page_of(report(folder, tmp_path / "page.html"))
    assert 'class="viewer"' not in html
    assert page.text.count("No viewer: with it the page would be larger than 15 MB.") == 3
    assert "niivue" not in html.lower()


def test_only_the_pages_own_script_and_the_vendored_library_may_run(written):
    html, page = page_of(written)
    (policy,) = [attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    own = html[html.rindex("<script>") + 8 : html.rindex("</script>")]
    library = VENDOR / "niivue.umd.js"
    assert allowed == [
        base64.b64encode(hashlib.sha256(part).digest()).decode()
        for part in (own.encode(), library.read_bytes())
    ]
    assert "unsafe-eval" not in policy
    assert "blob:" not in policy


def test_the_vendored_viewer_is_the_one_that_its_readme_names():
    digest = sha256(VENDOR / "niivue.umd.js")
    assert digest in (VENDOR / "README.md").read_text()
    assert "BSD 2-Clause" in (VENDOR / "LICENSE-niivue.txt").read_text()
