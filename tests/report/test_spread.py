import pytest

from medseg.report.figures import Figure
from medseg.report.spread import spread
from tests.report.example import case, entry, results, rows_of

COLOURS = {"liver": "#ff0000"}
DSC = Figure("dsc", "DSC", "1", "higher", "", headline=True)
HD95 = Figure("hd95", "HD95", "mm", "lower", "", headline=True)


def laid_out(*scores):
    cases = [case(str(n), liver=entry(dsc=dsc, hd95=1.0)) for n, dsc in enumerate(scores)]
    return spread(rows_of(results(cases, labels={"liver": 1})), COLOURS, DSC)


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
    assert (box.low, box.middle, box.high) == pytest.approx((25.0, 50.0, 75.0))
    assert box.whiskers == (0.0, 100.0)
    assert laid_out(0.5, 0.6, 0.7).strips[0].box is None


def test_organs_without_a_score_have_an_empty_row():
    found = spread([], COLOURS, DSC)
    assert found.strips[0].dots == []
    assert found.ticks[-1] == (100.0, "1.0")


def test_whiskers_leave_out_what_lies_far_from_the_box():
    box = laid_out(0.0, 0.8, 0.8, 0.9, 0.9, 1.0).strips[0].box
    # quartiles 0.8 and 0.9, so the whiskers reach from 0.65 to 1.05 at most
    assert box.whiskers == (80.0, 100.0)


def test_distances_start_at_zero_and_what_was_missed_stands_at_the_end():
    cases = [
        case("a", liver=entry(dsc=0.9, hd95=2.0)),
        case("b", liver=entry(dsc=0.5, hd95=10.0)),
        case("c", liver=entry("missed")),
        case("d", liver=entry("absent")),
    ]
    found = spread(rows_of(results(cases, labels={"liver": 1})), COLOURS, HD95)
    assert [text for _, text in found.ticks] == ["0", "2", "4", "6", "8", "10"]
    assert [dot.x for dot in found.strips[0].dots] == [20.0, 100.0, 100.0]
    assert found.strips[0].dots[2].note == "c: missed"
    assert found.strips[0].summary == "3 cases, from 2.00 to 10.00, median 6.00"


def test_distances_that_are_all_zero_still_have_an_axis():
    cases = [case("a", liver=entry(dsc=1.0, hd95=0.0))]
    found = spread(rows_of(results(cases, labels={"liver": 1})), COLOURS, HD95)
    assert [dot.x for dot in found.strips[0].dots] == [0.0]
