"""A small evaluated data set, with figures set by hand, for the tests of the report."""

import json

import numpy as np

from medseg.report.figures import figures_of
from medseg.report.tables import case_rows
from medseg.volumes import Volume, write_label_map, write_volume

LABELS = {"liver": 1, "left kidney": 5}
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
DIAGONAL = 86.2
VOXEL_ML = 0.02


def entry(status="scored", dsc=None, hd95=None, voxels=(None, None)):
    """One organ of one case as evaluation writes it; voxels of (prediction, label)."""
    pred, label = (None if count is None else count * VOXEL_ML for count in voxels)
    return {
        "status": status,
        "dsc": dsc if status in ("scored", "absent") else 0.0,
        "hd95": hd95,
        "hd95_directed": None if hd95 is None else hd95 + 0.5,
        "volume_pred_ml": pred,
        "volume_label_ml": label,
    }


def case(case_id, **organs):
    """One case by its organs; ``_`` in a name stands for a blank."""
    return {
        "case_id": case_id,
        "prediction": f"pred/{case_id}.nii.gz",
        "label": f"label/{case_id}.nii.gz",
        "image": f"image/{case_id}.nii.gz",
        "shape": [20, 16, 6],
        "spacing": [2.0, 2.0, 5.0],
        "diagonal_mm": DIAGONAL,
        "organs": {organ.replace("_", " "): figures for organ, figures in organs.items()},
    }


def results(cases, labels=None, failures=()):
    """``results.json`` of the cases, with a summary that is plain to check by hand."""
    labels = labels or LABELS
    organs = {organ: _summary([one["organs"].get(organ) for one in cases]) for organ in labels}
    mean = {
        "dsc": _mean([part["dsc"]["mean"] for part in organs.values()]),
        "hd95": _mean([part["hd95"]["mean"] for part in organs.values()]),
        "hd95_scored": _mean([part["hd95"]["mean_scored"] for part in organs.values()]),
        "hd95_directed": _mean([part["hd95_directed"]["mean"] for part in organs.values()]),
        "hd95_directed_scored": _mean(
            [part["hd95_directed"]["mean_scored"] for part in organs.values()]
        ),
    }
    metrics = {
        "dsc": {"name": "DSC", "unit": "1", "better": "higher", "convention": "dsc rule"},
        "hd95": {"name": "HD95", "unit": "mm", "better": "lower", "convention": "hd95 rule"},
        "hd95_directed": {
            "name": "HD95 directed", "unit": "mm", "better": "lower",
            "convention": "hd95_directed rule",
        },
    }  # fmt: skip
    return {
        "version": "0",
        "labels": labels,
        "metrics": metrics,
        "cases": cases,
        "failures": list(failures),
        "summary": {"organs": organs, "mean": mean},
    }


def rows_of(content):
    """The cases of a report with all their figures."""
    return case_rows(content, figures_of(content))


def enriched(content):
    """The same results as a newer evaluation writes them: more metrics, settings, hashes."""
    more = {
        "nsd_1mm": {"name": "NSD at 1 mm", "unit": "1", "better": "higher", "headline": True},
        "assd": {"name": "ASSD", "unit": "mm", "better": "lower", "headline": True},
        "lesions_missed": {"name": "Lesions missed", "unit": "lesions", "better": "none",
                           "headline": False},
        "volume_difference_ml": {"name": "Volume difference", "unit": "ml", "better": "none",
                                 "headline": False},
    }  # fmt: skip
    content["metrics"] |= more
    content["format"] = "medseg-results/1"
    content["settings"] = {"tolerances_mm": [1.0], "regions": {"both": [1, 5]}, "subgroups": None}
    content["environment"] = {"python": "3.11.9", "numpy": "2.1"}
    for one in content["cases"]:
        one["sha256"] = {"prediction": "cd" * 32, "label": "ef" * 32}
        for figures in one["organs"].values():
            scored = figures["status"] == "scored"
            figures["nsd_1mm"] = figures["dsc"] and figures["dsc"] / 2
            figures["assd"] = figures["hd95"] and figures["hd95"] / 4
            figures["lesions_missed"] = 0 if scored else 1
            figures["volume_difference_ml"] = -1.5 if scored else None
    for organ, part in content["summary"]["organs"].items():
        part["dsc"] |= {"ci_low": 0.111, "ci_high": 0.999}
        part["nsd_1mm"] = {"mean": 0.25, "mean_scored": 0.5, "ci_low": 0.2, "ci_high": 0.3}
        part["assd"] = {"mean": 40.5, "mean_scored": 1.5}
        part["volume_difference_ml"] = {"mean": -1.5}
        assert organ in content["labels"]
    content["summary"]["mean"] |= {"nsd_1mm": 0.25, "assd": 40.5, "assd_scored": 1.5}
    content["summary"]["conventions"] = {
        "transunet": {"transunet_dice": {"organs": {"liver": 0.8125}, "mean": 0.8125}}
    }
    return content


def five_cases():
    """Five cases; mean DSC 0.70, 0.95, 0.45 (a kidney missed), 0.85 and 0.61."""
    return [
        case("a", liver=entry(dsc=0.8, hd95=4.0), left_kidney=entry(dsc=0.6, hd95=8.0)),
        case("b", liver=entry(dsc=0.95, hd95=1.0), left_kidney=entry("absent")),
        case("c", liver=entry(dsc=0.9, hd95=2.0), left_kidney=entry("missed")),
        case("d", liver=entry(dsc=0.9, hd95=2.0), left_kidney=entry(dsc=0.8, hd95=3.0)),
        case("e", liver=entry(dsc=0.7, hd95=5.0), left_kidney=entry(dsc=0.52, hd95=9.0)),
    ]


def write(folder, content, files=True):
    """Write ``results.json`` and, if asked, the volumes of every case."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    for one in content["cases"] if files else ():
        write_files(folder, one)
    return folder


def write_files(folder, one):
    """A box of liver and one of kidney, predicted one voxel aside unless they are missed."""
    label, pred = np.zeros((2, 20, 16, 6), np.uint8)
    label[12:17, 4:10, 1:4], pred[13:18, 4:10, 1:4] = 1, 1
    label[3:6, 4:8, 2:5], pred[3:6, 5:9, 2:5] = 5, 5
    for organ, figures in one["organs"].items():
        if figures["status"] in ("missed", "absent"):
            pred[pred == LABELS[organ]] = 0
        if figures["status"] in ("false_positive", "absent"):
            label[label == LABELS[organ]] = 0
    image = np.random.default_rng(0).normal(40, 20, label.shape)
    image[0], image[-1] = -1000, 400
    write_label_map(folder / one["label"], Volume(label, AFFINE))
    write_label_map(folder / one["prediction"], Volume(pred, AFFINE))
    write_volume(folder / one["image"], Volume(image.astype(np.int16), AFFINE))


def write_run(folder, epochs=4, iterations=900):
    """A run folder whose losses are 1/epoch and whose DSC is known every second epoch."""
    (folder / "model").mkdir(parents=True)
    history = ["epoch,iteration,train_loss,val_loss,val_dsc,dsc_liver,dsc_left kidney,lr,seconds"]
    for epoch in range(1, epochs + 1):
        val = f"{1.5 / epoch},0.{epoch}5,0.{epoch}6,0.{epoch}4" if epoch % 2 == 0 else ",,,"
        history.append(f"{epoch},{epoch * 10},{1 / epoch},{val},0.01,2.5")
    losses = [f"{i},{1 / i},0.01" for i in range(1, iterations + 1)]
    (folder / "history.csv").write_text("\n".join(history) + "\n")
    (folder / "iterations.csv").write_text("\n".join(["iteration,loss,lr", *losses]) + "\n")
    (folder / "config.yaml").write_text("seed: 7\n# <b>not bold</b>\n")
    card = {
        "network": {"_target_": "medseg.networks.transunet.TransUNet", "image_size": 224},
        "weights_sha256": "ab" * 32,
        "provenance": {"seed": 7},
    }
    (folder / "model" / "model.json").write_text(json.dumps(card))
    return folder


def _summary(entries):
    there = [one for one in entries if one is not None]
    statuses = ("scored", "missed", "false_positive", "absent")
    dsc = [one["dsc"] for one in there if one["dsc"] is not None]
    part = {
        "counts": {name: sum(one["status"] == name for one in there) for name in statuses},
        "dsc": {
            "mean": _mean(dsc),
            "median": float(np.median(dsc)) if dsc else None,
            "std": float(np.std(dsc, ddof=1)) if len(dsc) > 1 else None,
            "n": len(dsc),
        },
    }
    for name in ("hd95", "hd95_directed"):
        scored = [one[name] for one in there if one["status"] == "scored"]
        lost = sum(one["status"] in ("missed", "false_positive") for one in there)
        part[name] = {
            "mean": _mean(scored + lost * [DIAGONAL]),
            "mean_scored": _mean(scored),
            "n": len(scored) + lost,
            "n_scored": len(scored),
        }
    return part


def _mean(values):
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
