"""The page of an explanation as a reader has it: opened from disk in a headless Chromium."""

import base64

import cv2
import numpy as np
import pytest

from tests.report.browser import browser, needs_chromium
from tests.report.explained import explanation

pytestmark = [pytest.mark.slow, needs_chromium]
SHOWN = "document.body.dataset.shown === '{}'"
PANE = "canvas[data-pane='{}']"
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return explanation(tmp_path_factory.mktemp("page") / "ct_liver.html")


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def opened(tab, page, width=1280):
    tab.resize(width, 900)
    tab.open(page.as_uri())
    tab.wait(SHOWN.format(1))
    return tab


def pane(tab, kind):
    """The colours of a canvas at the size of the slice, (30, 40, 3)."""
    script = f"document.querySelector({PANE.format(kind)!r}).toDataURL().split(',')[1]"
    data = np.frombuffer(base64.b64decode(tab.run(script)), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return cv2.resize(picture, (40, 30), interpolation=cv2.INTER_AREA).astype(int)


def coloured(picture):
    return picture.max(axis=2) - picture.min(axis=2) > 40


def put(tab, name, value, event="input"):
    tab.run(f"document.getElementById('{name}').value = '{value}'")
    tab.run(f"document.getElementById('{name}').dispatchEvent(new Event('{event}'))")


def test_each_method_is_coloured_where_its_map_is_large(tab, page):
    opened(tab, page)
    assert not coloured(pane(tab, "image")).any()
    near, far = coloured(pane(tab, 0)), coloured(pane(tab, 1))
    assert near[10:18, 7:13].all()
    assert far[10:18, 27:33].all()
    assert not near[:, 20:].any()
    assert not far[:, :20].any()
    assert tab.run("document.querySelector('.outline path').getBBox().width") == 10
    assert tab.complaints == []
    assert all(request.startswith(("file:///", "data:")) for request in tab.requests)


def test_the_slider_moves_by_keys_and_says_where_it_is(tab, page):
    opened(tab, page)
    assert "2 in the file, 2 of 3 from below, z = −10 mm" in tab.run(
        "document.getElementById('where').textContent"
    )
    before = pane(tab, "image")
    tab.run("document.getElementById('slice').focus()")
    tab.key("ArrowRight", 39)
    tab.wait(SHOWN.format(2))
    assert "1 in the file, 3 of 3" in tab.run("document.getElementById('where').textContent")
    assert (pane(tab, "image") != before).any()
    tab.key("Home", 36)
    tab.wait(SHOWN.format(0))
    assert tab.complaints == []


def test_opacity_and_outline_can_be_taken_away(tab, page):
    opened(tab, page)
    put(tab, "opacity", 0)
    assert not coloured(pane(tab, 0)).any()
    assert tab.run("getComputedStyle(document.querySelector('.outline')).display") == "block"
    tab.run("document.getElementById('outline').click()")
    assert tab.run("getComputedStyle(document.querySelector('.outline')).display") == "none"


def test_layers_and_heads_are_chosen_by_list_or_by_picture(tab, page):
    opened(tab, page)
    columns = [4.5, 14.5, 24.5]  # of the tokens that heads 0, 1 and 2 look at
    for layer in (0, 1):
        put(tab, "layer", layer, "change")
        for head, column in enumerate(columns):
            put(tab, "head", head, "change")
            shown = pane(tab, "head")
            strength = (shown.max(axis=2) - shown.min(axis=2)).astype(float)
            row, found = np.unravel_index(cv2.blur(strength, (3, 3)).argmax(), strength.shape)
            assert abs(found - column) <= 3
            assert abs(row - (4.5 + 10 * layer)) <= 3
    assert tab.run("document.getElementById('head-name').textContent") == "layer 1, head 2"
    tab.run("document.querySelector('#tiles button[data-head=\"1\"]').focus()")
    tab.key("Enter", 13)
    assert tab.run("document.getElementById('head').value") == "1"
    assert tab.run("document.querySelector('#tiles [aria-pressed=true]').dataset.head") == "1"
    put(tab, "head", "mean", "change")
    mean = coloured(pane(tab, "head"))
    assert all(mean[13:16, round(column) - 1 : round(column) + 1].any() for column in columns)
    put(tab, "layer", 0, "change")
    assert coloured(pane(tab, "head"))[:24].any()
    assert not coloured(pane(tab, "head"))[26:].any()  # the network did not see these rows
    assert tab.complaints == []


def test_a_phone_shows_it_without_scrolling_sideways(tab, page):
    opened(tab, page, width=360)
    assert not tab.run(TOO_WIDE)
    assert tab.complaints == []


def test_without_scripts_the_page_says_where_the_picture_is(tab, page):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(page.as_uri())
    text = tab.run("document.body.innerText")
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "ct_liver.png, which was written beside this page" in text


def test_a_hostile_name_runs_nothing(tab, tmp_path):
    evil = "</script><img src=x onerror=alert(1)><script>window.hurt = 1</script>"
    opened(tab, explanation(tmp_path / "a.html", organ=evil, image=evil, against=evil))
    assert tab.run("typeof window.hurt") == "undefined"
    assert tab.run("document.images.length") == 0
    assert tab.complaints == []
