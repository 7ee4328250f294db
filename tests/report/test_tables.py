import pytest

from medseg.report.tables import case_rows, organ_rows, overall, worst_and_median
from tests.report.example import case, entry, five_cases, results


def one(case_id, dsc):
    return case(case_id, liver=entry(dsc=dsc, hd95=1.0), left_kidney=entry("absent"))


def chosen(*cases):
    rows = case_rows(results(list(cases)))
    return {heading: row.case_id for heading, row in worst_and_median(rows).items()}


def test_the_median_of_an_odd_number_is_the_middle_one():
    assert chosen(*five_cases()) == {"Worst case": "c", "Median case": "a"}


def test_the_median_of_an_even_number_is_the_better_of_the_middle_ones():
    cases = [one(name, dsc) for name, dsc in zip("wxyz", (0.9, 0.2, 0.6, 0.5), strict=True)]
    assert chosen(*cases) == {"Worst case": "x", "Median case": "y"}


def test_equal_cases_are_ranked_by_name_and_unmeasured_ones_left_out():
    blank = case("a", liver=entry("absent"), left_kidney=entry("absent"))
    assert chosen(one("c", 0.5), blank, one("b", 0.5)) == {"Worst case": "b", "Median case": "c"}
    assert chosen(blank) == {}
    assert chosen(one("c", 0.5)) == {"The only case": "c"}


def test_a_missed_organ_counts_as_zero_in_the_mean_of_its_case():
    assert case_rows(results(five_cases()))[2].mean_dsc == pytest.approx(0.45)


def test_coverage_adds_up():
    rows = organ_rows(results(five_cases()), {"liver": "red", "left kidney": "blue"})
    coverage = overall(rows)
    assert (coverage.scored, coverage.missed, coverage.absent) == (8, 1, 1)
    assert (coverage.present, coverage.counted) == (9, 9)
