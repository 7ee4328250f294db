from medseg.evaluation.summary import summarise
from medseg.evaluation.table import rows
from tests.evaluation.test_summary import figures, results_of


def test_rows_by_hand():
    results = results_of(
        {"liver": figures("scored", 0.9, 2.0, 3.0), "aorta": figures("absent")},
        {"liver": figures("missed"), "aorta": figures("absent")},
    )
    header, body = rows(results | {"summary": summarise(results)})
    assert [dict(zip(header, row, strict=True)) for row in body] == [
        {
            "organ": "liver", "DSC": "0.450", "HD95 mm (pooled)": "51.00",
            "HD95 mm (pooled, scored only)": "2.00", "HD95 mm (directed)": "51.50", "n": "2",
            "scored": "1", "missed": "1", "false pos.": "0", "absent": "0",
        },
        {
            "organ": "aorta", "DSC": "–", "HD95 mm (pooled)": "–",
            "HD95 mm (pooled, scored only)": "–", "HD95 mm (directed)": "–", "n": "0",
            "scored": "0", "missed": "0", "false pos.": "0", "absent": "2",
        },
        {
            "organ": "mean of 1 organ", "DSC": "0.450", "HD95 mm (pooled)": "51.00",
            "HD95 mm (pooled, scored only)": "2.00", "HD95 mm (directed)": "51.50", "n": "2",
            "scored": "1", "missed": "1", "false pos.": "0", "absent": "2",
        },
    ]  # fmt: skip


def test_no_case_still_gives_a_table():
    results = {"labels": {"liver": 1}, "cases": [], "failures": []}
    header, body = rows(results | {"summary": summarise(results)})
    assert [row[0] for row in body] == ["liver", "mean of 0 organs"]
    assert all(len(row) == len(header) for row in body)
