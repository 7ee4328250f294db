from medseg.evaluation.summary import summarise
from medseg.evaluation.table import columns, rows
from tests.evaluation.test_summary import METRICS, figures, results_of


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
    results = {"labels": {"liver": 1}, "metrics": METRICS, "cases": [], "failures": []}
    header, body = rows(results | {"summary": summarise(results)})
    assert [row[0] for row in body] == ["liver", "mean of 0 organs"]
    assert all(len(row) == len(header) for row in body)


def test_few_metrics_are_all_shown_and_many_only_as_dsc_and_hd95():
    ratio = {"unit": "1", "headline": True, "better": "higher"}
    few = {name: ratio | {"name": name.upper()} for name in ("iou", "recall")}
    assert [column.key for column in columns(few)] == ["iou", "recall"]
    many = METRICS | {name: ratio | {"name": name} for name in "abcd"}
    shown = [column.key for column in columns(many)]
    assert shown == ["dsc", "hd95", "hd95_scored", "hd95_directed"]
