"""Results of made-up models, as evaluation writes them."""

import json

import numpy as np

DIAGONAL = 100.0
METRICS = {
    "dsc": {"name": "DSC", "unit": "1", "better": "higher", "convention": "Dice", "headline": True,
            "worst": 0.0},
    "hd95": {"name": "HD95 (pooled)", "unit": "mm", "better": "lower",
             "convention": "pooled", "headline": True, "worst": "diagonal"},
    "nsd_2mm": {"name": "NSD at 2 mm", "unit": "1", "better": "higher",
                "convention": "surface elements", "headline": True, "worst": 0.0},
    "volume_pred_ml": {"name": "volume", "unit": "ml", "better": "none",
                       "convention": "-", "headline": False, "worst": None},
}  # fmt: skip
MISSED, INVENTED, ABSENT = "missed", "false_positive", "absent"
ONE = {"liver": [0.9, 0.8, 0.7, MISSED, ABSENT], "spleen": [0.5, ABSENT, 0.6, ABSENT, ABSENT]}
OTHER = {
    "liver": [0.95, 0.8, MISSED, 0.4, INVENTED],
    "spleen": [0.5, INVENTED, 0.7, ABSENT, ABSENT],
}


def entry(value):
    """An organ by its DSC, or by its status where it is not scored."""
    if isinstance(value, str):
        return {"status": value, "dsc": None if value == ABSENT else 0.0, "hd95": None,
                "nsd_2mm": None, "volume_pred_ml": 1.0}  # fmt: skip
    return {"status": "scored", "dsc": value, "hd95": 10 * (1 - value), "nsd_2mm": value**0.5,
            "volume_pred_ml": 1.0}  # fmt: skip


def results(organs, *, metrics=("dsc", "hd95"), cases=None, **changes):
    """Results of organ name → one value per case, as :func:`entry` takes them."""
    number = len(next(iter(organs.values())))
    names = [f"case_{index}" for index in range(number)] if cases is None else cases
    labels = {organ: value for value, organ in enumerate(organs, 1)}
    content = {
        "format": "medseg-results/1",
        "version": "0",
        "labels": labels,
        "metrics": {key: METRICS[key] for key in metrics},
        "cases": [
            {"case_id": name, "diagonal_mm": DIAGONAL, "shape": [4, 4, 4],
             "sha256": {"prediction": "p", "label": f"truth of {name}"},
             "label_values": dict(labels),
             "organs": {organ: entry(values[index]) for organ, values in organs.items()}}
            for index, name in enumerate(names)
        ],
        "failures": [],
    }  # fmt: skip
    return content | changes


def write(folder, content):
    """Write ``results.json`` into a folder of its own and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def shares(rng, cases, organs, shift=0.0):
    """DSC of one model of many with the same difficulty of cases and organs."""
    hardness = np.random.default_rng(99)
    base = hardness.normal(2, 0.7, organs) + hardness.normal(0, 0.6, (cases, 1))
    own = 0.4 * rng.normal(0, 1, (cases, organs)) + 0.2 * rng.normal(0, 1, (cases, 1))
    return 1 / (1 + np.exp(-(base + shift + own)))


def models(tmp_path, *organs, **options):
    return [
        write(tmp_path / f"model_{index}", results(own, **options))
        for index, own in enumerate(organs)
    ]
