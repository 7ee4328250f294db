"""Results as files: JSON, CSV, LaTeX, and the summary that nnU-Net's tools read."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation.conventions import column_names
from medseg.evaluation.latex import latex_table
from medseg.files import write_json, write_text

SPELLED_OUT = {  # key of an organ's figures → column of results.csv, with its unit
    "hd95": "hd95_pooled_mm",
    "hd95_directed": "hd95_directed_mm",
    "hd": "hd_mm",
    "assd": "assd_mm",
}
COUNTED = ("dsc", "volume_pred_ml", "volume_label_ml")
Results = Mapping[str, Any]


def write_results(output: Path, results: Results) -> None:
    """Write all files of an evaluation, ``results.json`` last: where it is, the others are too.

    ``summary.json`` needs DSC and volumes, and is left out where these were not measured.

    Raises:
        ResourceError: If the disk is full.
    """
    write_text(output / "results.csv", as_csv(results))
    write_text(output / "results.tex", latex_table(results))
    if all(key in results["metrics"] for key in COUNTED):
        # not write_json: nnU-Net writes NaN for a figure of nothing, and reads it back
        summary = json.dumps(nnunet_summary(results), indent=4, sort_keys=True)
        write_text(output / "summary.json", summary + "\n")
    write_json(output / "results.json", results)


def as_csv(results: Results) -> str:
    """One row per case and organ; a figure that does not exist is an empty cell."""
    keys = ["status", *results["metrics"], *column_names(results["settings"]["conventions"])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case_id", "organ", *(SPELLED_OUT.get(key, key) for key in keys)])
    for case in results["cases"]:
        for organ, figures in case["organs"].items():
            writer.writerow([case["case_id"], organ, *(figures[key] for key in keys)])
    return text.getvalue()


def nnunet_summary(results: Results) -> dict[str, Any]:
    """The content of nnU-Net's ``summary.json``, with its keys and its convention.

    An organ that a case has in neither label map is ``nan``, left out of its organ's mean; an organ
    that no case has makes the mean over organs ``nan``.

    Source:
        ``evaluate_predictions.py`` of nnU-Net 2.
    """
    cases = [
        {
            "metrics": {
                _key(results["labels"][organ]): _counts(figures, case)
                for organ, figures in case["organs"].items()
            },
            "prediction_file": case["prediction"],
            "reference_file": case["label"],
        }
        for case in results["cases"]
    ]
    keys = [_key(value) for value in results["labels"].values()]
    per_key = {
        key: _mean([one["metrics"][key] for one in cases if key in one["metrics"]]) for key in keys
    }
    overall = _mean(list(per_key.values()), leave_out_nan=False)
    return {"metric_per_case": cases, "mean": per_key, "foreground_mean": overall}


def _counts(figures: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, float]:
    """Voxels counted in four ways, from the volumes and the DSC."""
    x, y, z = case["spacing"]
    pred, label = (
        round(figures[f"volume_{side}_ml"] * 1000 / (x * y * z)) for side in ("pred", "label")
    )
    total = pred + label
    both = round((figures["dsc"] or 0.0) * total / 2)
    i, j, k = case["shape"]
    union = total - both
    return {
        "Dice": 2 * both / total if total else float("nan"),
        "IoU": both / union if total else float("nan"),
        "TP": both, "FP": pred - both, "FN": label - both, "TN": i * j * k - union,
        "n_pred": pred, "n_ref": label,
    }  # fmt: skip


def _mean(
    entries: Sequence[Mapping[str, float]], *, leave_out_nan: bool = True
) -> dict[str, float]:
    names = ("Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref")
    means = {}
    for name in names:
        values = [entry[name] for entry in entries]
        if leave_out_nan:
            values = [value for value in values if not math.isnan(value)]
        means[name] = sum(values) / len(values) if values else float("nan")
    return means


def _key(value: int | Sequence[int]) -> str:
    return str(value) if isinstance(value, int) else str(tuple(value))
