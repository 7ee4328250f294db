import json

import pytest

from medseg.datasets import decathlon
from medseg.errors import InputError
from tests.datasets.make import IDS, ORGANS, touch, write_json
from tests.datasets.make import decathlon as write
from tests.shared import SHARED, needs_shared


def ids(cases):
    return [case.case_id for case in cases]


def nnunet(root, channels=("0000",)):
    for name in ("a", "b"):
        for channel in channels:
            touch(root / "imagesTr" / f"{name}_{channel}.nii.gz")
        touch(root / "labelsTr" / f"{name}.nii.gz")
    touch(root / "imagesTs" / "t_0000.nii.gz")
    labels = {"background": 0, "liver": 1, "tumour": 2}
    described = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2}
    write_json(root / "dataset.json", {**described, "file_ending": ".nii.gz"})
    return root


def test_decathlon_lists_its_pairs_and_labels(tmp_path):
    write(tmp_path)
    found = decathlon.cases(tmp_path, split="all")
    assert ids(found) == list(IDS)
    assert found[0].labels == ORGANS
    assert found[0].image == tmp_path / "imagesTr" / "one.nii.gz"
    assert found[0].label == tmp_path / "labelsTr" / "one.nii.gz"


def test_macos_files_are_ignored(tmp_path):
    write(tmp_path)
    touch(tmp_path / "imagesTr" / "._one.nii.gz")
    described = json.loads((tmp_path / "dataset.json").read_text())
    described["training"].append(
        {"image": "./imagesTr/._one.nii.gz", "label": "./labelsTr/._one.nii.gz"}
    )
    write_json(tmp_path / "dataset.json", described)
    assert ids(decathlon.cases(tmp_path, split="all")) == list(IDS)


def test_nnunet_v2_pairs_by_name_and_names_labels_first(tmp_path):
    found = decathlon.cases(nnunet(tmp_path), split="all")
    assert ids(found) == ["a", "b"]
    assert found[0].image.name == "a_0000.nii.gz"
    assert found[0].labels == {"liver": 1, "tumour": 2}


def test_one_channel_of_several_is_chosen(tmp_path):
    nnunet(tmp_path, ("0000", "0001"))
    found = decathlon.cases(tmp_path, split="all", channel=1)
    assert [case.image.name for case in found] == ["a_0001.nii.gz", "b_0001.nii.gz"]


def test_unlabelled_cases_of_both_forms(tmp_path):
    (case,) = decathlon.cases(nnunet(tmp_path / "v2"), split="unlabelled")
    assert (case.case_id, case.label) == ("t", None)
    root = write(tmp_path / "v1")
    described = json.loads((root / "dataset.json").read_text())
    write_json(root / "dataset.json", {**described, "test": ["./imagesTs/five.nii.gz"]})
    (case,) = decathlon.cases(root, split="unlabelled")
    assert (case.case_id, case.image) == ("five", root / "imagesTs" / "five.nii.gz")


def test_splits_by_file_by_argument_and_by_fold(tmp_path):
    write(tmp_path)
    parts = [ids(decathlon.cases(tmp_path, split=s, num_folds=4)) for s in ("train", "val", "test")]
    assert sorted(i for part in parts for i in part) == sorted(IDS)
    assert [len(part) for part in parts] == [2, 1, 1]

    write_json(tmp_path / "splits.json", {"train": ["three"], "test": ["one"]})
    assert ids(decathlon.cases(tmp_path, split="train")) == ["three"]
    assert ids(decathlon.cases(tmp_path, split="mine", splits={"mine": ["two"]})) == ["two"]


def test_a_split_that_names_no_case_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="split-unknown-case"):
        decathlon.cases(tmp_path, splits={"train": ["five"]})


@pytest.mark.parametrize(
    "path",
    ["../secret.nii.gz", "/etc/secret.nii.gz", "imagesTr/../../secret.nii.gz", "..\\secret.nii.gz"],
)
def test_paths_that_climb_out_of_the_folder_are_refused(tmp_path, path):
    write(tmp_path)
    described = json.loads((tmp_path / "dataset.json").read_text())
    described["training"][1]["image"] = path
    described["test"] = [path]
    write_json(tmp_path / "dataset.json", described)
    for split in ("all", "unlabelled"):
        with pytest.raises(InputError, match=r"secret\.nii\.gz"):
            decathlon.cases(tmp_path, split=split)


@pytest.mark.parametrize("gone", ["imagesTr", "labelsTr"])
def test_a_listed_file_that_is_missing_is_refused(tmp_path, gone):
    write(tmp_path)
    (tmp_path / gone / "two.nii.gz").unlink()
    with pytest.raises(InputError, match=r"two\.nii\.gz"):
        decathlon.cases(tmp_path, split="all")


def test_a_description_without_labels_is_refused(tmp_path):
    write_json(tmp_path / "dataset.json", {"training": []})
    with pytest.raises(InputError, match="a description with 'labels'"):
        decathlon.cases(tmp_path)


@needs_shared
def test_the_published_split_of_the_hippocampus():
    root = SHARED / "data" / "hippocampus"
    parts = {split: decathlon.cases(root, split=split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 147,
        "val": 19,
        "test": 43,
    }
    assert len(decathlon.cases(root, split="all")) == 209
    assert parts["val"][0].labels == {"Anterior": 1, "Posterior": 2}
