import numpy as np
import pytest

from medseg.report.faithfulness import write_faithfulness
from tests.report.page import page_of

POINTS = 5


def part(mean, low=None, high=None):
    return {"mean": mean, "low": low, "high": high}


def summary(gain, beats):
    figures = {
        name: part(0.5, 0.4, 0.6)
        for name in ("deletion", "insertion", "gain", "pointing", "inside", "survives")
    }
    over = {
        "over_random": part(gain, gain - 0.1, gain + 0.1),
        "beats_random": beats,
        "survives_shuffling": beats,
    }
    return figures | over | {"agreement": {"tiba": 1.0, "random": None}}


def result(cases=3):
    measured = [
        {
            "case_id": f"case{case}", "organ": organ, "method": method,
            "deletion": np.linspace(1, 0, POINTS).tolist(), "insertion": [0.1 * case] * POINTS,
        }
        for case in range(cases) for organ in ("liver", "spleen") for method in ("tiba", "random")
    ]  # fmt: skip
    return {
        "medseg": "1.0",
        "cases": cases,
        "organs": ["liver", "spleen"],
        "methods": {"tiba": summary(-0.05, False), "random": summary(0.0, False)},
        "measured": measured,
    }


@pytest.fixture
def written(tmp_path):
    write_faithfulness(tmp_path / "compare.html", result())
    return page_of(tmp_path / "compare.html")


def test_a_method_that_does_not_beat_chance_is_said_not_to(written):
    _, page = written
    assert "Not shown to beat a random map: tiba." in page.text
    assert "not shown to beat chance" in page.text
    assert "−0.05 [−0.15, 0.05]" in page.text


def test_a_map_that_shuffled_weights_hardly_change_is_said_to_show_the_image(tmp_path, written):
    assert "shuffled weights: " not in written[1].text
    found = result()
    found["methods"]["tiba"] = summary(0.5, True)
    write_faithfulness(tmp_path / "survives.html", found)
    _, page = page_of(tmp_path / "survives.html")
    assert "Much the same with shuffled weights: tiba." in page.text
    assert "survives shuffled weights" in page.text


def test_a_curve_is_the_mean_over_cases_and_its_band_the_interval(written):
    _, page = written
    lines = [tag["points"] for name, tag in page.tags if name == "polyline"]
    assert lines[1] == "0,0 25,25 50,50 75,75 100,100"  # deletion by tiba, after the random one
    rows = [float(pair.split(",")[1]) for pair in lines[3].split()]
    assert rows == pytest.approx([90] * POINTS)  # insertion: 0, 0.1 and 0.2 in the cases
    bands = [tag["points"] for name, tag in page.tags if name == "polygon"]
    heights = [float(pair.split(",")[1]) for pair in bands[-1].split()]
    assert len(heights) == 2 * POINTS
    assert all(row > 90 for row in heights[:POINTS])  # the lower end lies lower on the page
    assert all(row < 90 for row in heights[POINTS:])


def test_one_case_has_no_band_and_decides_nothing(tmp_path):
    write_faithfulness(tmp_path / "compare.html", result(cases=1))
    _, page = page_of(tmp_path / "compare.html")
    assert "One case has no interval" in page.text
    assert not [tag for name, tag in page.tags if name == "polygon"]
