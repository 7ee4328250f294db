import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.case import Case, write_cases
from medseg.datasets import decathlon
from medseg.datasets.check import check, recognise
from medseg.datasets.problems import KINDS
from medseg.errors import InputError, UsageError
from tests.datasets import make
from tests.datasets.faults import FAULTS
from tests.shared import SHARED, needs_shared


def kinds(report):
    return {problem.kind for problem in report.problems}


@pytest.fixture
def clean(tmp_path):
    return make.decathlon(tmp_path / "data")


def test_a_clean_data_set_has_no_problems(clean):
    report = check(clean)
    assert report.ok
    assert list(report.problems) == []
    assert [case.case_id for case in report.cases] == list(make.IDS)
    assert report.cases[0].shape == make.SHAPE
    assert report.cases[0].spacing_mm == (1.5, 1.25, 3.0)
    assert report.cases[0].voxels == {0: 194, 1: 8, 2: 8}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_nothing_else(clean, name):
    inject, expected = FAULTS[name]
    inject(clean)
    report = check(clean)
    assert kinds(report) == expected
    assert report.ok == (not any(KINDS[kind][0] == "error" for kind in expected))
    for problem in report.problems:
        assert "\n" not in problem.message
        assert problem.path in problem.message
        assert problem.advice in problem.message


def test_far_more_than_twenty_kinds_are_injected():
    injected = set().union(*(expected for _, expected in FAULTS.values()))
    assert len(injected) >= 40


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"no_cases"}))
def test_one_fault_does_not_hide_another(clean, name):
    inject, expected = FAULTS[name]
    inject(clean)
    array = make.image_array(3)
    array[0, 0, 0] = np.nan
    make.write_nifti(clean / "imagesTr" / "four.nii.gz", array)
    report = check(clean)
    assert kinds(report) == expected | {"nan"}
    assert "four" in {p.case_id for p in report.problems if p.kind == "nan"}


@given(st.lists(st.tuples(st.integers(0, 359), st.integers(0, 255)), min_size=1, max_size=8))
def test_no_broken_header_stops_the_check(tmp_path_factory, changes):
    path = make.write_nifti(tmp_path_factory.mktemp("fuzz") / "a.nii", make.image_array())
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place] = value
    path.write_bytes(content)
    assert len(check([Case("a", path)]).cases) == 1


def test_the_case_and_the_file_are_named_with_what_came_and_what_was_wanted(clean):
    FAULTS["label_one_slice_short"][0](clean)
    (problem,) = check(clean).problems
    assert (problem.case_id, problem.severity) == ("two", "error")
    assert problem.message == (
        f"{clean}/labelsTr/two.nii.gz: expected 7×6×5 as its image, got 7×6×4; "
        "resample the label onto the image's grid"
    )


def test_a_tolerance_lets_a_small_move_pass(clean):
    FAULTS["label_moved_by_a_fiftieth_of_a_millimetre"][0](clean)
    assert kinds(check(clean, tolerance_mm=0.015)) == {"origin-mismatch"}
    assert kinds(check(clean, tolerance_mm=0.025)) == set()
    with pytest.raises(UsageError, match="tolerance_mm must be 0 or more, got -1"):
        check(clean, tolerance_mm=-1)


def test_patients_are_kept_apart_over_the_splits_given(clean):
    one, two, three, four = (
        replace(case, patient_id=patient)
        for case, patient in zip(decathlon.cases(clean, split="all"), "PPQR", strict=True)
    )
    assert check({"train": [one, two], "test": [three, four]}).ok
    report = check({"train": [one, three], "test": [two, four]})
    (problem,) = report.problems
    assert (problem.kind, problem.case_id) == ("patient-in-two-splits", "two")
    assert "'P'" in problem.wanted
    assert problem.got == "one in train, two in test"


def test_a_case_in_two_splits_is_read_once(clean):
    steps = []
    cases = decathlon.cases(clean, split="all")
    check({"train": cases, "val": cases}, progress=lambda *step: steps.append(step[1:3]))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_cases_without_any_label_are_no_fault_but_one_among_labelled_is(clean):
    cases = decathlon.cases(clean, split="all")
    unlabelled = [replace(case, label=None) for case in cases]
    assert kinds(check(unlabelled)) == set()
    assert kinds(check([*cases[:3], unlabelled[3]])) == {"image-without-label"}


def test_a_case_list_is_checked_as_cases(clean, tmp_path):
    FAULTS["image_with_nan"][0](clean)
    write_cases(tmp_path / "cases.json", decathlon.cases(clean, split="all"))
    assert kinds(check(tmp_path / "cases.json")) == {"nan"}


def test_workers_find_the_same(clean):
    for name in ("label_interpolated", "one_case_in_training_and_test"):
        FAULTS[name][0](clean)
    alone, together = check(clean), check(clean, workers=2)
    assert together == alone
    assert kinds(alone) == {"label-not-integer", "patient-in-two-splits"}


def test_the_report_is_plain_data(clean):
    FAULTS["affine_of_nan"][0](clean)
    plain = json.loads(json.dumps(check(clean).to_plain(), allow_nan=False))
    assert (plain["dataset"], plain["ok"], plain["num_cases"]) == ("decathlon", False, 4)
    assert plain["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert plain["problems"][0]["kind"] == "affine-invalid"
    assert plain["problems"][0]["severity"] == "error"
    assert [case["problems"] for case in plain["cases"]] == [0, 1, 0, 0]


def test_errors_come_first(clean):
    for name in ("spacing_in_metres", "fewer_cases_than_announced", "label_value_outside_the_map"):
        FAULTS[name][0](clean)
    severities = [problem.severity for problem in check(clean).problems]
    assert severities == sorted(severities, key=("error", "warning", "note").index)


def test_other_formats_are_checked_too(tmp_path):
    from medseg.volumes import Volume, write_volume

    for number, case_id in enumerate("ab"):
        image, label = make.image_array(number), make.label_array()
        write_volume(tmp_path / "images" / f"{case_id}.mha", Volume(image, make.AFFINE))
        write_volume(tmp_path / "labels" / f"{case_id}.nrrd", Volume(label, make.AFFINE))
    assert kinds(check(tmp_path, labels=make.ORGANS)) == set()
    stacked = np.stack([make.image_array(0)] * 2, axis=0)
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(stacked, isVector=False), tmp_path / "images" / "a.mha")
    content = (tmp_path / "labels" / "b.nrrd").read_bytes()
    (tmp_path / "labels" / "b.nrrd").write_bytes(content[:-20])
    assert kinds(check(tmp_path, labels=make.ORGANS)) == {"dimensions", "unreadable"}


def test_label_values_without_names_are_a_note(tmp_path):
    make.write_nifti(tmp_path / "images" / "a.nii.gz", make.image_array())
    make.write_nifti(tmp_path / "labels" / "a.nii.gz", make.label_array())
    report = check(tmp_path)
    assert report.ok
    assert kinds(report) == {"labels-unnamed"}
    assert kinds(check(tmp_path, labels={"anterior": 1})) == {"label-unknown-value"}


def test_faults_in_a_label_without_an_image_are_named(tmp_path):
    make.write_nifti(tmp_path / "images" / "a.nii.gz", make.image_array())
    make.write_nifti(tmp_path / "labels" / "a.nii.gz", make.label_array())
    make.touch(tmp_path / "labels" / "b.nii.gz")
    assert kinds(check(tmp_path, labels=make.ORGANS)) == {"label-without-image", "empty-file"}


def test_ambiguous_pairs_are_named(tmp_path):
    for name in ("a.nii", "a.nii.gz"):
        make.write_nifti(tmp_path / "images" / name, make.image_array())
    make.write_nifti(tmp_path / "labels" / "a.nii.gz", make.label_array())
    assert kinds(check(tmp_path)) == {"ambiguous-pair", "no-cases"}


def test_preprocessed_synapse_is_clean_and_its_faults_are_named(tmp_path):
    pytest.importorskip("h5py")
    root = make.synapse_preprocessed(tmp_path)
    report = check(root)
    assert report.dataset == "synapse_preprocessed"
    assert kinds(report) == {"organ-never"}  # three organs are drawn
    assert report.cases[0].shape == (8, 8, 3)

    slices = sorted((root / "train_npz").glob("case0005*"))
    slices[1].unlink()
    np.savez(root / "train_npz" / "case0006_slice001.npz", image=np.zeros((4, 4)))
    volume = root / "test_vol_h5" / "case0001.npy.h5"
    volume.write_bytes(volume.read_bytes()[:900])
    found = kinds(check(root))
    assert found >= {"missing-file", "slice-shapes", "unreadable"}


def test_acdc_and_synapse_are_recognised_and_incomplete_parts_named(tmp_path):
    acdc = make.acdc(tmp_path / "acdc", [1])
    report = check(acdc)
    assert report.dataset == "acdc"
    assert kinds(report) == {"case-missing", "empty-file", "empty-split"}
    synapse = make.synapse(tmp_path / "synapse", [1, 5])
    report = check(synapse)
    assert report.dataset == "synapse"
    assert kinds(report) == {"case-missing", "empty-file"}


def test_layouts_are_recognised_or_named(clean, tmp_path):
    assert recognise(clean) == "decathlon"
    for place in ("img/x", "label/x"):
        make.touch(tmp_path / "raw" / "RawData" / "Training" / place)
    assert recognise(tmp_path / "raw") == "synapse"
    (tmp_path / "slices" / "train_npz").mkdir(parents=True)
    assert recognise(tmp_path / "slices") == "synapse_preprocessed"
    assert recognise(tmp_path) == "folder"
    assert check(clean, dataset="folder", labels=make.ORGANS).dataset == "folder"
    with pytest.raises(UsageError, match=r"dataset must be one of decathlon.*got 'mine'"):
        check(clean, dataset="mine")
    with pytest.raises(InputError, match="no such folder"):
        check(tmp_path / "nowhere")


def test_checking_imports_neither_torch_nor_monai():
    code = "import sys; import medseg.datasets.check; print({'torch', 'monai'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert ran.stdout.strip() == "set()"


@needs_shared
def test_real_bad_input_is_found():
    report = check(SHARED / "data" / "hippocampus_faulty")
    assert sorted((p.kind, p.path.rpartition("/")[2]) for p in report.problems) == [
        ("image-without-label", "hippocampus_118.nii.gz"),
        ("label-without-image", "hippocampus_010.nii.gz"),
        ("label-without-image", "hippocampus_281.nii.gz"),
    ]
    assert not report.ok


@needs_shared
def test_209_real_cases_raise_no_alarm():
    report = check(SHARED / "data" / "hippocampus")
    assert len(report.cases) == 209
    assert list(report.problems) == []
