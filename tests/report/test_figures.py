import pytest

from medseg.report.figures import Figure, figures_of, shade
from medseg.report.notes import notes_on
from medseg.report.scatter import scatter
from tests.report.example import case, enriched, entry, five_cases, results, rows_of

DSC = Figure("dsc", "DSC", "1", "higher", "", headline=True)
HD95 = Figure("hd95", "HD95", "mm", "lower", "", headline=True)
COLOURS = {"liver": "#ff0000", "left kidney": "#0000ff"}


def test_volumes_of_older_results_are_figures_too():
    content = results([case("a", liver=entry(dsc=0.5, voxels=(10, 20)))])
    assert [figure.key for figure in figures_of(content)] == [
        "dsc", "hd95", "hd95_directed", "volume_label_ml", "volume_pred_ml",
    ]  # fmt: skip
    assert [figure.key for figure in figures_of(results(five_cases()))][3:] == []


def test_dsc_and_hd95_come_first_and_what_only_describes_last():
    content = enriched(results(five_cases()))
    content["metrics"] = dict(reversed(content["metrics"].items()))
    assert [figure.key for figure in figures_of(content)] == [
        "dsc", "hd95", "hd95_directed", "assd", "nsd_1mm", "volume_difference_ml", "lesions_missed",
    ]  # fmt: skip


def test_a_heading_names_the_unit_and_scores_have_none():
    assert (DSC.label, DSC.digits, HD95.label, HD95.digits) == ("DSC", 3, "HD95, mm", 2)


def test_colours_are_strong_where_a_figure_is_bad():
    assert shade(DSC, 1.0, 0) == 0
    assert shade(DSC, 0.75, 0) == 35
    assert shade(DSC, 0.1, 0) == 70
    assert shade(HD95, 5.0, 10.0) == 35
    assert shade(HD95, None, 10.0) == shade(HD95, 0.0, 0.0) == 0


def test_every_metric_shown_has_a_plain_note():
    figures = figures_of(enriched(results(five_cases())))
    notes = notes_on(figures, ["transunet", "unheard of"])
    assert {figure.name for figure in figures} <= notes.keys()
    assert "within 1 mm" in notes["NSD at 1 mm"][0]
    assert notes["DSC"][1] == "dsc rule"
    assert "Columns of unheard of" not in notes


def drawn(*cases):
    return scatter(rows_of(results(list(cases))), COLOURS, DSC)


def test_points_stand_at_the_logarithm_of_the_true_volume():
    small = entry(dsc=1.0, hd95=0.0, voxels=(50, 50))  # 1 ml
    middle = entry(dsc=0.5, hd95=1.0, voxels=(50, 500))  # 10 ml
    large = entry(dsc=0.5, hd95=1.0, voxels=(50, 5000))  # 100 ml
    found = drawn(
        case("a", liver=small, left_kidney=middle), case("b", liver=large, left_kidney=middle)
    )
    at = [point.x for point in found.points]
    assert at[1] == at[3] == 50.0
    assert at[0] + at[2] == pytest.approx(100.0)
    assert [point.y for point in found.points] == [0.0, 100.0, 100.0, 100.0]
    assert [text for _, text in found.x_ticks] == ["1", "10", "100"]
    assert found.points[1].note == "a, left kidney: 0.500, 10 ml"


def test_organs_without_a_true_volume_are_counted_and_left_out():
    there = entry(dsc=0.9, hd95=1.0, voxels=(50, 50))
    invented = entry("false_positive", voxels=(50, 0))
    found = drawn(case("a", liver=there, left_kidney=invented))
    assert (len(found.points), found.left_out) == (1, 1)
    assert list(found.legend) == ["liver"]
    assert drawn(case("a", liver=entry("absent"), left_kidney=invented)) is None
