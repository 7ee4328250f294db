import pytest

from medseg.report.tables import cases_to_look_at, organ_rows, overall
from tests.report.example import DIAGONAL, case, enriched, entry, five_cases, results, rows_of


def one(case_id, dsc):
    return case(case_id, liver=entry(dsc=dsc, hd95=1.0), left_kidney=entry("absent"))


def chosen(*cases):
    rows = rows_of(results(list(cases)))
    return {heading: row.case_id for heading, row in cases_to_look_at(rows).items()}


def test_the_median_of_an_odd_number_is_the_middle_one():
    assert chosen(*five_cases()) == {
        "Worst case": "c",
        "Median case": "a",
        "Best case": "b",
    }


def test_the_median_of_an_even_number_is_the_better_of_the_middle_ones():
    cases = [one(name, dsc) for name, dsc in zip("wxyz", (0.9, 0.2, 0.6, 0.5), strict=True)]
    assert chosen(*cases) == {"Worst case": "x", "Median case": "y", "Best case": "w"}


def test_equal_cases_are_ranked_by_name_and_unmeasured_ones_left_out():
    blank = case("a", liver=entry("absent"), left_kidney=entry("absent"))
    assert chosen(one("c", 0.5), blank, one("b", 0.5)) == {"Worst case": "b", "Best case": "c"}
    assert chosen(blank) == {}
    assert chosen(one("c", 0.5)) == {"The only case": "c"}


def test_a_missed_organ_counts_as_zero_in_the_mean_of_its_case():
    assert rows_of(results(five_cases()))[2].mean_dsc == pytest.approx(0.45)


def test_coverage_adds_up():
    rows = organ_rows(results(five_cases()), {"liver": "red", "left kidney": "blue"})
    coverage = overall(rows)
    assert (coverage.scored, coverage.missed, coverage.absent) == (8, 1, 1)
    assert (coverage.present, coverage.counted) == (9, 9)


def test_a_missed_organ_counts_as_the_diagonal_in_the_mean_distance_of_its_case():
    row = rows_of(enriched(results(five_cases())))[2]
    assert row.means["hd95"] == pytest.approx((2.0 + DIAGONAL) / 2)
    assert row.means["nsd_1mm"] == pytest.approx(0.9 / 2 / 2)


def test_what_only_describes_is_summed_over_the_organs():
    row = rows_of(enriched(results(five_cases())))[2]
    assert row.means["lesions_missed"] == 1
    assert row.means["volume_difference_ml"] == -1.5
