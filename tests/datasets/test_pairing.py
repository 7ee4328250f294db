from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.datasets.pairing import is_label_name, pair


def files(*names):
    return {Path(f"{name}.nii.gz"): name for name in names}


def paired(images, labels):
    found = pair(files(*images), files(*labels))
    return {i: (a.name[:-7], b.name[:-7]) for i, (a, b) in found.pairs.items()}, found


@pytest.mark.parametrize(
    ("case_id", "image", "label"),
    [
        ("liver_3", "liver_3", "liver_3"),
        ("liver_3", "liver_3_0000", "liver_3"),
        ("0001", "img0001", "label0001"),
        ("12", "volume-12", "segmentation-12"),
        ("ct_7", "ct_7", "ct_7_seg"),
        ("p3", "p3_image", "p3-label"),
        ("P4", "P4_CT", "P4_Mask"),
        ("case", "image", "label"),
        ("a_b", "a_b_image", "a_b_gt"),
        ("10", "scan_10", "10_truth"),
    ],
)
def test_common_ways_to_name_a_pair(case_id, image, label):
    found, left = paired([image], [label])
    assert found == {case_id: (image, label)}
    assert not left.lone_images
    assert not left.lone_labels


def test_a_folder_per_case_names_the_case():
    images = {Path("x/case7/image.nii"): "case7/image", Path("x/case8/image.nii"): "case8/image"}
    labels = {Path("x/case7/label.nii"): "case7/label"}
    found = pair(images, labels)
    assert found.pairs == {"case7": (Path("x/case7/image.nii"), Path("x/case7/label.nii"))}
    assert list(found.lone_images.values()) == [Path("x/case8/image.nii")]


def test_whole_names_come_before_names_without_affixes():
    found, left = paired(["a", "a_0001", "a_0000"], ["a_0000", "a_0001", "a"])
    assert found == {name: (name, name) for name in ("a", "a_0000", "a_0001")}
    assert not left.ambiguous


def test_two_modalities_of_one_patient_are_told_apart_by_their_opening_word():
    found, _ = paired(["ct_1", "mr_1"], ["ct_1_seg", "mr_1_seg"])
    assert found == {"ct_1": ("ct_1", "ct_1_seg"), "mr_1": ("mr_1", "mr_1_seg")}


def test_two_images_for_one_label_are_ambiguous():
    found, left = paired(["b_image", "b_scan", "c"], ["b_seg", "c"])
    assert list(found) == ["c"]
    assert [path.name for path in left.ambiguous["b"]] == [
        "b_image.nii.gz",
        "b_scan.nii.gz",
        "b_seg.nii.gz",
    ]
    assert [problem.kind for problem in left.problems()] == ["ambiguous-pair"]


def test_what_is_left_over_is_named():
    _, left = paired(["a", "b"], ["b", "c"])
    assert [(p.kind, Path(p.path).name) for p in left.problems()] == [
        ("image-without-label", "a.nii.gz"),
        ("label-without-image", "c.nii.gz"),
    ]


@given(st.sets(st.integers(0, 9999), min_size=1, max_size=30))
def test_numbered_names_pair_by_their_number(numbers):
    found, left = paired([f"img{n:04d}" for n in numbers], [f"label{n:04d}" for n in numbers])
    assert found == {f"{n:04d}": (f"img{n:04d}", f"label{n:04d}") for n in numbers}
    assert not left.problems()


@pytest.mark.parametrize("name", ["ct_3_seg", "label0001", "mask", "a-gt", "x.segmentation"])
def test_names_that_say_label(name):
    assert is_label_name(Path(f"{name}.nii.gz"))


@pytest.mark.parametrize("name", ["ct_3", "segovia_1", "unlabelled_3", "gtx_1", "image"])
def test_names_that_do_not(name):
    assert not is_label_name(Path(f"{name}.nii.gz"))
