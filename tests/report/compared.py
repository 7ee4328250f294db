"""Two evaluations and their comparison, with figures set by hand, for the tests of its page."""

import json

from tests.report.example import LABELS, five_cases, results, write

NAMES = ("old", "new <b>")


def difference(mean, *, better=None, p_holm=0.5):
    """What a comparison says of one organ or of the mean."""
    return {
        "n": 5, "mean": mean, "median": mean / 2, "ci_low": mean - 0.25, "ci_high": mean + 0.25,
        "wins": 3, "ties": 1, "losses": 1, "effect": 0.5, "p": p_holm / 2, "p_holm": p_holm,
        "significant": better is not None, "better": better, "differences": [mean] * 5,
    }  # fmt: skip


def comparison(folder):
    """``comparison.json`` of two models in ``folder``, with all the files that it names."""
    means = {NAMES[0]: [0.7, 0.95, 0.45, 0.85, 0.61], NAMES[1]: [0.7, 0.95, 0.95, 0.8, 0.61]}
    figure = {"n": 5, "mean": 0.5, "median": 0.5, "ci_low": 0.25, "ci_high": 0.75}
    models = []
    for number, name in enumerate(NAMES):
        write(folder / f"model {number}", results(five_cases()))
        path = f"model {number}/results.json"
        models.append({"name": name, "results": path, "sha256": str(number) * 64})
    organs = {organ: difference(0.125) for organ in LABELS}
    line = {"case_id": "d", "organ": "liver", "reference": 0.9, "model": 0.8, "difference": -0.1,
            "reference_status": "scored", "model_status": "missed"}  # fmt: skip
    content = {
        "format": "medseg-comparison/1", "version": "0", "models": models, "labels": LABELS,
        "organs": list(LABELS), "cases": ["a", "b", "c", "d", "e"],
        "metrics": {"dsc": {"name": "DSC", "unit": "1", "better": "higher", "convention": "rule"}},
        "settings": {"alpha": 0.05, "resamples": 100}, "notices": ["One case was left out."],
        "values": {"dsc": {name: {"organs": {}, "mean": mean} for name, mean in means.items()}},
        "figures": {"dsc": {name: {"organs": dict.fromkeys(LABELS, figure), "mean": figure}
                            for name in NAMES}},
        "pairs": [{"reference": NAMES[0], "model": NAMES[1],
                   "metrics": {"dsc": {"organs": organs,
                                       "mean": difference(0.25, better="model", p_holm=0.0123)}},
                   "regressions": {"dsc": [line]},
                   "status_changes": [{"case_id": "c", "organ": "left kidney",
                                       "reference": "missed", "model": "scored"}]}],
        "ranking": {"dsc": {"models": {name: {"mean": 0.5, "rank": 1.0, "first": 0.5}
                                       for name in NAMES}}},
    }  # fmt: skip
    path = folder / "comparison.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
