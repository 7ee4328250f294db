import pytest

from medseg.datasets import folder
from medseg.errors import InputError, UsageError
from tests.datasets.make import touch, write_json


def fill(root, images, labels):
    for name in images:
        touch(root / name)
    for name in labels:
        touch(root / name)
    return root


def test_pairs_of_two_folders_with_free_names(tmp_path):
    fill(
        tmp_path,
        ["images/p1_ct.nii.gz", "images/p2_ct.nii.gz", "images/._p2_ct.nii.gz"],
        ["labels/p1_seg.mha", "labels/p2_seg.nii"],
    )
    one, two = folder.cases(tmp_path, split="all", labels={"liver": 7})
    assert (one.case_id, one.image.name, one.label.name) == ("p1", "p1_ct.nii.gz", "p1_seg.mha")
    assert two.case_id == "p2"
    assert two.labels == {"liver": 7}


def test_pairs_of_one_folder_and_of_a_folder_per_case(tmp_path):
    fill(tmp_path, ["a.nii.gz", "c7/image.nii.gz"], ["a_seg.nii.gz", "c7/label.nii.gz"])
    found = folder.cases(tmp_path, split="all")
    assert [(case.case_id, case.label.name) for case in found] == [
        ("a", "a_seg.nii.gz"),
        ("c7", "label.nii.gz"),
    ]


def test_folders_may_be_named(tmp_path):
    fill(tmp_path, ["vols/a.nii.gz"], ["truth/a.nii.gz"])
    (case,) = folder.cases(tmp_path, split="all", folders=("vols", "truth"))
    assert case.label == tmp_path / "truth" / "a.nii.gz"


def test_missing_partners_are_refused_and_listed(tmp_path):
    fill(tmp_path, ["images/a.nii", "images/b.nii"], ["labels/b.nii", "labels/c.nii"])
    with pytest.raises(InputError, match=r"2 faults.*a\.nii.*c\.nii"):
        folder.cases(tmp_path, split="all")


def test_ambiguous_partners_are_refused_and_listed(tmp_path):
    fill(tmp_path, ["images/a.nii", "images/a.nii.gz"], ["labels/a.nii"])
    with pytest.raises(InputError, match=r"ambiguous-pair: a\.nii, a\.nii\.gz, a\.nii"):
        folder.cases(tmp_path, split="all")


def test_splits_come_from_the_file_in_the_folder(tmp_path):
    names = [f"c{i}.nii" for i in range(4)]
    fill(tmp_path, [f"images/{n}" for n in names], [f"labels/{n}" for n in names])
    write_json(tmp_path / "splits.json", {"train": ["c2", "c0"], "test": ["c1"]})
    assert [case.case_id for case in folder.cases(tmp_path)] == ["c2", "c0"]
    assert [case.case_id for case in folder.cases(tmp_path, split="test")] == ["c1"]
    assert len(folder.cases(tmp_path, split="all")) == 4
    with pytest.raises(UsageError, match="no split 'val'; there are all, test, train"):
        folder.cases(tmp_path, split="val")


def test_without_a_file_folds_keep_patients_together(tmp_path):
    names = [f"c{i:02d}.nii" for i in range(20)]
    fill(tmp_path, [f"images/{n}" for n in names], [f"labels/{n}" for n in names])
    patients = {f"c{i:02d}": f"p{i // 2}" for i in range(20)}
    parts = {
        split: {c.patient for c in folder.cases(tmp_path, split=split, patients=patients, seed=4)}
        for split in ("train", "val", "test")
    }
    assert sum(len(part) for part in parts.values()) == len(set.union(*parts.values())) == 10
    assert len(folder.cases(tmp_path, split="test", patients=patients)) == 4


def test_patients_may_stand_in_a_file(tmp_path):
    fill(tmp_path, ["images/a.nii"], ["labels/a.nii"])
    path = write_json(tmp_path / "patients.json", {"a": "someone"})
    assert folder.cases(tmp_path, split="all", patients=path)[0].patient == "someone"
    with pytest.raises(InputError, match="case ids with their patients, got list"):
        folder.cases(tmp_path, split="all", patients=write_json(tmp_path / "p.json", ["a"]))


def test_an_empty_or_absent_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="images and labels, got no volumes"):
        folder.cases(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        folder.cases(tmp_path / "nowhere")
