"""The page as a reader has it: opened from disk in a headless Chromium."""

import json
import time

import cv2
import numpy as np
import pytest

from medseg.datasets.phantom import LABELS, make_case
from medseg.report.report import report
from medseg.volumes import write_label_map, write_volume
from tests.report.browser import NO_WEBGL, browser, needs_chromium
from tests.report.compared import comparison
from tests.report.perturbed import evaluated
from tests.shared import SHARED, needs_shared

pytestmark = [pytest.mark.slow, needs_chromium]
PAGES = ["phantom", *(pytest.param(n, marks=needs_shared) for n in ("hippocampus", "abdomen"))]
PAGE_BYTES, FIRST_VIEW_S = 15_000_000, 3.0
OPEN = "document.querySelector('.viewer .open').click()"
READY = "document.querySelector('.viewer').dataset.ready === 'yes'"
WHERE = "document.querySelector('.viewer .where').textContent"
COLUMN = "[...document.querySelectorAll('{} tbody tr')].map((row) => row.cells[{}].dataset.v)"
PAINTED = "performance.getEntriesByName('first-contentful-paint').map((p) => p.startTime)[0]"
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"


def phantom_cases(folder):
    for index in range(4):
        image, label = make_case(0, index, (48, 48, 24))
        paths = folder / f"image_{index}.nii.gz", folder / f"label_{index}.nii.gz"
        write_volume(paths[0], image)
        write_label_map(paths[1], label)
        yield f"phantom_{index}", *paths


def hippocampus_cases(root):
    for label in sorted((root / "labels").glob("*.nii.gz"))[:20]:
        yield label.name.removesuffix(".nii.gz"), root / "images" / label.name, label


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Name → the page of that evaluation, made when first asked for."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(name):
        if name not in made:
            if name == "phantom":
                cases, labels = phantom_cases(folder), LABELS
            elif name == "hippocampus":
                cases = hippocampus_cases(SHARED / "data" / "hippocampus")
                labels = {"anterior": 1, "posterior": 2}
            else:
                root = SHARED / "data" / "abdomen_ct"
                named = json.loads((root / "labels.json").read_text())["synapse8"]
                labels = {organ: int(value) for value, organ in named.items()}
                scan = root / "ts_full"
                cases = [("ts_full", scan / "image.nii.gz", scan / "label_synapse8.nii.gz")]
            results = evaluated(list(cases), labels, folder / name)
            made[name] = report(results, folder / f"{name}.html")
        return made[name]

    return page


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def pixels(tab, selector):
    picture = cv2.imdecode(np.frombuffer(tab.picture(selector=selector), np.uint8), 1)
    return picture.astype(int)


def asked_for_nothing(tab):
    return all(request.startswith(("file:///", "data:", "blob:")) for request in tab.requests)


@pytest.mark.parametrize("name", PAGES)
def test_the_first_view_is_quick_and_asks_the_network_for_nothing(tab, pages, name):
    path = pages(name)
    assert path.stat().st_size <= PAGE_BYTES
    tab.resize(1280, 900)
    assert tab.open(path.as_uri()) < FIRST_VIEW_S
    tab.wait(PAINTED)
    assert tab.run(PAINTED) < 1000 * FIRST_VIEW_S
    assert tab.run("typeof window.niivue") == "undefined"  # unpacked for those who ask for it
    assert tab.complaints == []
    assert asked_for_nothing(tab)


@pytest.mark.parametrize("name", PAGES)
def test_the_viewer_shows_image_truth_and_prediction(tab, pages, name):
    tab.resize(1280, 900)
    tab.open(pages(name).as_uri())
    tab.run(OPEN)
    tab.wait(READY)
    both = pixels(tab, ".viewer canvas")
    assert both.std() > 20  # neither black nor blank
    coloured = (both.max(axis=2) - both.min(axis=2) > 60).sum()
    assert coloured > 200
    for kind in ("truth", "prediction"):
        tab.run(f"document.querySelector('.viewer .show-{kind}').click()")
    grey = pixels(tab, ".viewer canvas")
    assert (grey.max(axis=2) - grey.min(axis=2) > 60).sum() == 0
    assert grey.std() > 20
    assert "truth: " in tab.run(WHERE)
    assert tab.complaints == []
    assert asked_for_nothing(tab)


def test_the_sliders_and_the_planes_of_the_viewer_change_the_view(tab, pages):
    tab.open(pages("phantom").as_uri())
    tab.run(OPEN)
    tab.wait(READY)
    before, place = pixels(tab, ".viewer canvas"), tab.run(WHERE)
    tab.run("document.querySelector('.viewer .slice[data-axis=\"2\"]').focus()")
    tab.key("ArrowLeft", 37)
    assert tab.run(WHERE) != place
    moved = pixels(tab, ".viewer canvas")
    assert (moved != before).any()
    tab.run("document.querySelector('.viewer .truth-opacity').value = 0")
    tab.run("document.querySelector('.viewer .truth-opacity').dispatchEvent(new Event('input'))")
    assert (pixels(tab, ".viewer canvas") != moved).any()
    tab.run("document.querySelector('.viewer .close').click()")
    assert tab.run("document.querySelector('.viewer .stage').hidden")
    assert tab.run("document.activeElement.className") == "open"


@pytest.mark.parametrize("name", PAGES)
def test_a_click_or_a_key_on_a_heading_sorts_by_it(tab, pages, name):
    tab.open(pages(name).as_uri())
    columns = tab.run("document.querySelectorAll('table.list thead th').length")
    for column in range(1, columns):
        button = f"document.querySelectorAll('table.list thead button')[{column}]"
        tab.run(f"{button}.click()")
        values = [float(value) for value in tab.run(COLUMN.format("table.list", column)) if value]
        assert values == sorted(values)
    tab.run(f"{button}.focus()")
    tab.key("Enter", 13)
    values = [float(value) for value in tab.run(COLUMN.format("table.list", column)) if value]
    assert values == sorted(values, reverse=True)
    heading = f"document.querySelectorAll('table.list thead th')[{column}]"
    assert tab.run(f"{heading}.getAttribute('aria-sort')") == "descending"


def test_another_metric_fills_the_table_of_cases_and_organs(tab, pages):
    tab.open(pages("phantom").as_uri())
    before = tab.run(COLUMN.format("table.heat", 2))
    tab.run("document.getElementById('metric').value = 1")
    tab.run("document.getElementById('metric').dispatchEvent(new Event('change'))")
    after = tab.run(COLUMN.format("table.heat", 2))
    heat = tab.run("JSON.parse(document.getElementById('heat').textContent)[1]")
    assert heat["key"] == "hd95"
    assert [float(value) for value in after] == [values[0] for values in heat["values"]]
    assert after != before


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_from_a_row_to_its_case_and_back(tab, pages, name):
    tab.open(pages(name).as_uri())
    rows = tab.run("document.querySelectorAll('table.list tbody tr').length")
    for row in range(0, rows, 5):
        tab.run(f"document.querySelector('#row-{row} a').click()")
        tab.wait(f"document.activeElement.id === 'case-{row}'")
        assert tab.run(f"document.getElementById('case-{row}').checkVisibility()")
        tab.run(f"document.querySelector('a.back[href=\"#row-{row}\"]').click()")
        tab.wait(f"document.activeElement.id === 'row-{row}'")


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_tables_and_never_the_page(tab, pages, name):
    tab.resize(360, 740)
    tab.open(pages(name).as_uri())
    assert not tab.run(TOO_WIDE)
    tab.run(OPEN)
    tab.wait(READY)
    assert not tab.run(TOO_WIDE)
    assert tab.complaints == []
    tab.resize(1280, 900)


@pytest.mark.parametrize("name", PAGES)
def test_without_webgl_the_pictures_stay_and_the_viewer_says_why(tmp_path, pages, name):
    with browser(tmp_path, NO_WEBGL) as plain:
        plain.open(pages(name).as_uri())
        plain.run(OPEN)
        plain.wait("!document.querySelector('.viewer .message').hidden")
        said = plain.run("document.querySelector('.viewer .message').textContent")
        assert "no WebGL2" in said
        assert plain.run("document.querySelector('.view svg image').getBBox().width") > 10
        assert plain.complaints == []


def test_without_javascript_every_figure_and_picture_is_there(tab, pages):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(pages("phantom").as_uri())
    text = tab.run("document.body.innerText")
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "needs JavaScript" in text
    assert "phantom_3" in text
    assert "Open the three-plane viewer" not in text


def test_a_hostile_name_runs_nothing(tab, tmp_path):
    evil = "</script><img src=x onerror=alert(1)><script>window.hurt = 1</script>"
    image, label = make_case(0, 0, (24, 24, 12))
    write_volume(tmp_path / "image.nii.gz", image)
    write_label_map(tmp_path / "label.nii.gz", label)
    labels = {organ + evil: value for organ, value in LABELS.items()}
    cases = [("case", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")]
    results = evaluated(cases, labels, tmp_path / "evaluated") / "results.json"
    content = json.loads(results.read_text())
    content["cases"][0]["case_id"] += evil
    results.write_text(json.dumps(content))
    tab.open(report(results, tmp_path / "page.html").as_uri())
    tab.run(OPEN)
    tab.wait(READY)
    time.sleep(0.2)
    assert tab.run("typeof window.hurt") == "undefined"
    assert tab.run("document.images.length") == 0
    assert tab.complaints == []


def test_a_comparison_opens_from_disk_on_a_desk_and_on_a_phone(tab, tmp_path):
    page = report(comparison(tmp_path), tmp_path / "page.html")
    for width in (1280, 360):
        tab.resize(width, 800)
        tab.open(page.as_uri())
        assert not tab.run(TOO_WIDE)
        assert tab.complaints == []
        assert asked_for_nothing(tab)
