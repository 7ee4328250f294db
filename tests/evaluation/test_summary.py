import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.evaluation.summary import means, summarise
from medseg.evaluation.values import STATUSES

HIGHER_IS_BETTER = {"dsc"}
METRICS = {
    "dsc": {"name": "DSC", "unit": "1", "better": "higher", "headline": True},
    "hd95": {"name": "HD95 (pooled)", "unit": "mm", "better": "lower", "headline": True},
    "hd95_directed": {
        "name": "HD95 (directed)", "unit": "mm", "better": "lower", "headline": True,
    },
}  # fmt: skip


def figures(status, dsc=0.0, hd95=math.inf, hd95_directed=math.inf):
    absent = status == "absent"
    values = (math.nan,) * 3 if absent else (dsc, hd95, hd95_directed)
    keys = ("dsc", "hd95", "hd95_directed")
    known = [value if math.isfinite(value) else None for value in values]
    return {"status": status, **dict(zip(keys, known, strict=True))}


def results_of(*cases, diagonals=None, failures=()):
    organs = list(dict.fromkeys(organ for case in cases for organ in case))
    diagonals = diagonals or [100.0] * len(cases)
    return {
        "labels": {organ: index for index, organ in enumerate(organs, 1)},
        "metrics": METRICS,
        "cases": [
            {"case_id": str(index), "diagonal_mm": diagonal, "organs": case}
            for index, (case, diagonal) in enumerate(zip(cases, diagonals, strict=True))
        ],
        "failures": list(failures),
    }


def test_one_organ_in_five_cases_by_hand():
    summary = summarise(
        results_of(
            {"liver": figures("scored", 0.9, 2.0, 3.0)},
            {"liver": figures("scored", 0.6, 4.0, 9.0)},
            {"liver": figures("missed")},
            {"liver": figures("false_positive")},
            {"liver": figures("absent")},
            diagonals=[100.0, 100.0, 200.0, 300.0, 400.0],
            failures=[{"case_id": "x", "error": "gone"}],
        )
    )
    liver = summary["organs"]["liver"]
    assert liver["counts"] == {"scored": 2, "missed": 1, "false_positive": 1, "absent": 1}
    assert liver["dsc"]["n"] == 4
    assert liver["dsc"]["mean"] == pytest.approx(0.375)
    assert liver["dsc"]["median"] == pytest.approx(0.3)
    assert liver["dsc"]["std"] == pytest.approx(0.45)
    pooled = {"mean": 126.5, "mean_scored": 3.0, "median": 102.0, "n": 4, "n_scored": 2}
    directed = {"mean": 128.0, "mean_scored": 6.0, "median": 104.5, "n": 4, "n_scored": 2}
    for name, expected in (("hd95", pooled), ("hd95_directed", directed)):
        assert {key: liver[name][key] for key in expected} == pytest.approx(expected)
        assert liver[name]["ci_low"] < expected["mean"] < liver[name]["ci_high"]
    assert summary["cases"] == {"scored": 5, "failed": 1}


def test_the_mean_is_over_organs_each_weighing_the_same():
    summary = summarise(
        results_of(
            {"liver": figures("scored", 0.8, 2.0, 2.0), "spleen": figures("scored", 0.4, 6.0, 8.0)},
            {"liver": figures("scored", 1.0, 0.0, 0.0), "spleen": figures("absent")},
        )
    )
    assert summary["mean"] == pytest.approx(
        {
            "dsc": 0.65,
            "dsc_scored": 0.65,
            "hd95": 3.5,
            "hd95_scored": 3.5,
            "hd95_directed": 4.5,
            "hd95_directed_scored": 4.5,
        }
    )
    assert summary["counts"] == {"scored": 3, "missed": 0, "false_positive": 0, "absent": 1}
    assert set(summary["mean_coverage"].values()) == {2}


def test_each_mean_says_of_how_many_organs_it_is():
    summary = summarise(
        results_of(
            {
                "liver": figures("scored", 0.5, 1.0, 1.0),
                "spleen": figures("missed"),
                "aorta": figures("absent"),
            }
        )
    )
    coverage = summary["mean_coverage"]
    assert (coverage["dsc"], coverage["hd95"], coverage["hd95_scored"]) == (2, 2, 1)
    assert summary["mean"]["hd95"] == pytest.approx(50.5)
    assert summary["mean"]["hd95_scored"] == 1.0
    assert summary["organs"]["spleen"]["hd95"]["mean_scored"] is None


def test_nothing_scored_gives_no_figures_rather_than_an_error():
    nothing = {"labels": {"liver": 1}, "metrics": METRICS, "cases": [], "failures": [{}]}
    summary = summarise(nothing)
    dsc = summary["organs"]["liver"]["dsc"]
    assert (dsc.pop("n"), dsc.pop("n_scored")) == (0, 0)
    assert set(dsc.values()) == {None}
    assert set(summary["mean"].values()) == {None}


def test_an_organ_that_some_truths_do_not_name_is_counted_where_it_is_named():
    summary = summarise(
        results_of({"liver": figures("scored", 0.5, 1.0, 1.0)}, {"spleen": figures("missed")})
    )
    assert sum(summary["organs"]["liver"]["counts"].values()) == 1
    assert summary["organs"]["spleen"]["counts"]["missed"] == 1


DIAGONAL = 100.0
scored = st.builds(
    lambda dsc, pooled, more: figures("scored", dsc, pooled, min(pooled + more, DIAGONAL)),
    st.floats(0, 1), st.floats(0, DIAGONAL), st.floats(0, 50),
)  # fmt: skip
any_figures = st.one_of(scored, st.sampled_from([figures(s) for s in STATUSES if s != "scored"]))
cohorts = st.integers(1, 4).flatmap(
    lambda organs: st.lists(
        st.fixed_dictionaries({f"organ {index}": any_figures for index in range(organs)}),
        min_size=1,
        max_size=6,
    )
)


def headlines(summary):
    yield from ((name, summary["mean"][name]) for name in ("dsc", "hd95", "hd95_directed"))
    for organ in summary["organs"].values():
        for name in ("dsc", "hd95", "hd95_directed"):
            yield from ((name, organ[name][kind]) for kind in ("mean", "median"))


@settings(max_examples=500)
@given(cohorts, st.randoms(use_true_random=False))
def test_missing_organs_never_improves_a_headline_figure(cohort, random):
    missed = [
        {
            organ: figures("missed")
            if entry["status"] == "scored" and random.random() < 0.5
            else entry
            for organ, entry in case.items()
        }
        for case in cohort
    ]
    before, after = (means(results_of(*cases)) for cases in (cohort, missed))
    for (name, old), (_, new) in zip(headlines(before), headlines(after), strict=True):
        assert (old is None) == (new is None)
        if old is not None:
            worse = new - old if name not in HIGHER_IS_BETTER else old - new
            assert worse >= -1e-9
