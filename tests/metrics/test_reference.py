"""Our figures against those that MedPy and MONAI gave for the same label maps."""

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.metrics import dsc, evaluate_case, hd95

REFERENCE = Path(__file__).parents[1] / "reference"
CASES = json.loads((REFERENCE / "metrics.json").read_text())["cases"]
MEDPY = {
    "iou": "jaccard_medpy", "precision": "precision_medpy", "recall": "recall_medpy",
    "hd": "hd_medpy_mm", "assd": "assd_medpy_mm",
}  # fmt: skip
MONAI = {
    "hd": "hd_monai_mm", "assd": "asd_symmetric_monai_mm",
    "nsd_1mm": "nsd_1mm_monai_subvoxel", "nsd_2mm": "nsd_2mm_monai_subvoxel",
}  # fmt: skip
DEEPMIND = {"nsd_1mm": "nsd_1mm_deepmind", "nsd_2mm": "nsd_2mm_deepmind", "dsc": "dsc_deepmind"}
ORGANS = [(name, value) for name, case in CASES.items() for value in case["labels"]]


@pytest.fixture(scope="module")
def arrays():
    with np.load(REFERENCE / "metrics.npz") as file:
        return dict(file)


def masks_of(arrays, name, value):
    return tuple(arrays[f"{name}__{part}"] == int(value) for part in ("pred", "gt"))


@pytest.mark.parametrize(("name", "value"), ORGANS)
def test_dsc_equals_that_of_medpy_and_nnunet_where_empty(arrays, name, value):
    expected = CASES[name]["labels"][value]
    ours = dsc(*masks_of(arrays, name, value))
    if expected["dsc_nnunet"] == "nan":
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(expected["dsc_medpy"], abs=1e-9)
        assert ours == pytest.approx(expected["dsc_nnunet"], abs=1e-9)


@pytest.mark.parametrize("unit", ["mm", "vox"])
@pytest.mark.parametrize(("name", "value"), ORGANS)
def test_hd95_equals_that_of_medpy_pooled_and_of_monai_directed(arrays, name, value, unit):
    expected = CASES[name]["labels"][value]
    pred, label = masks_of(arrays, name, value)
    spacing = CASES[name]["spacing"] if unit == "mm" else (1, 1, 1)
    if not pred.any() or not label.any():
        assert expected[f"hd95_medpy_{unit}"] == "raises RuntimeError"
        assert not np.isfinite(hd95(pred, label, spacing))
        return
    pooled = hd95(pred, label, spacing)
    directed = hd95(pred, label, spacing, convention="directed")
    assert pooled == pytest.approx(expected[f"hd95_medpy_{unit}"], abs=1e-9)
    assert directed == pytest.approx(expected[f"hd95_monai_{unit}"], rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_case_equals_the_reference_organ_by_organ(arrays, name):
    case = CASES[name]
    labels = {f"organ {value}": int(value) for value in case["labels"]}
    figures = evaluate_case(arrays[f"{name}__pred"], arrays[f"{name}__gt"], case["spacing"], labels)
    for value, expected in case["labels"].items():
        ours = figures[f"organ {value}"]
        for key, theirs in DEEPMIND.items():
            known = np.nan if expected[theirs] == "nan" else expected[theirs]
            assert ours[key] == pytest.approx(known, abs=1e-9, nan_ok=True)
        if ours.status == "scored":
            for key, theirs in MEDPY.items():
                assert ours[key] == pytest.approx(expected[theirs], abs=1e-9)
            for key, theirs in MONAI.items():
                assert ours[key] == pytest.approx(expected[theirs], rel=1e-5, abs=1e-6)
            assert ours["dsc"] == pytest.approx(expected["dsc_medpy"], abs=1e-9)
            assert ours["hd95"] == pytest.approx(expected["hd95_medpy_mm"], abs=1e-9)
            assert ours["hd95_directed"] == pytest.approx(expected["hd95_monai_mm"], rel=1e-5)
        else:
            assert ours.status == ("missed" if expected["n_gt"] else "absent")
