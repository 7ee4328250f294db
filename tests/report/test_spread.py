import pytest

from medseg.report.spread import spread
from medseg.report.tables import case_rows
from tests.report.example import case, entry, results

COLOURS = {"liver": "#ff0000"}


def laid_out(*scores):
    cases = [case(str(n), liver=entry(dsc=dsc, hd95=1.0)) for n, dsc in enumerate(scores)]
    return spread(case_rows(results(cases, labels={"liver": 1})), COLOURS)


def test_the_axis_runs_from_a_half_to_one_when_all_scores_are_good():
    found = laid_out(0.75, 1.0, 0.5, 0.625)
    assert [dot.x for dot in found.strips[0].dots] == [50.0, 100.0, 0.0, 25.0]
    assert found.ticks[0] == (0.0, "0.5")
    assert found.ticks[-1] == (100.0, "1.0")


def test_the_axis_reaches_down_to_the_lowest_score():
    found = laid_out(0.0, 1.0)
    assert [text for _, text in found.ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [dot.x for dot in found.strips[0].dots] == [0.0, 100.0]
    assert laid_out(0.37, 1.0).ticks[0] == (0.0, "0.3")


def test_the_box_spans_the_quartiles():
    box = laid_out(0.0, 0.25, 0.5, 0.75, 1.0).strips[0].box
    assert box == pytest.approx((25.0, 50.0, 75.0))
    assert laid_out(0.5, 0.6, 0.7).strips[0].box is None


def test_organs_without_a_score_have_an_empty_row():
    found = spread([], COLOURS)
    assert found.strips[0].dots == []
    assert found.ticks[-1] == (100.0, "1.0")
