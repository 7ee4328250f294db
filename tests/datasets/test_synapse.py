import pytest

from medseg.datasets import synapse
from medseg.errors import InputError, UsageError
from tests.datasets.make import synapse as write
from tests.datasets.make import touch
from tests.shared import SHARED, needs_shared


def test_the_published_split_has_18_and_12_cases(tmp_path):
    write(tmp_path)
    train, test = synapse.cases(tmp_path, num_val=0), synapse.cases(tmp_path, split="test")
    assert " ".join(case.case_id[-2:] for case in train) == (
        "05 06 07 09 10 21 23 24 26 27 28 30 31 33 34 37 39 40"
    )
    assert " ".join(case.case_id[-2:] for case in test) == "01 02 03 04 08 22 25 29 32 35 36 38"
    folder = tmp_path / "RawData" / "Training"
    assert train[0].image == folder / "img" / "img0005.nii.gz"
    assert train[0].label == folder / "label" / "label0005.nii.gz"
    assert len(train[0].labels) == 13
    assert len(synapse.cases(tmp_path, split="all")) == 30


def test_validation_comes_out_of_training_and_never_out_of_the_test_cases(tmp_path):
    write(tmp_path)
    train, val = (
        {case.case_id for case in synapse.cases(tmp_path, split=split)}
        for split in ("train", "val")
    )
    assert (len(train), len(val)) == (15, 3)
    assert train | val == {case.case_id for case in synapse.cases(tmp_path, num_val=0)}
    assert val < {case.case_id for case in synapse.cases(tmp_path, split="val", num_val=5)}


def test_the_published_split_has_no_validation_cases(tmp_path):
    with pytest.raises(UsageError, match="no validation cases"):
        synapse.cases(write(tmp_path), split="val", num_val=0)


@pytest.mark.parametrize("inside", [".", "RawData", "RawData/Training"])
def test_the_folder_may_be_any_of_the_three(tmp_path, inside):
    assert len(synapse.cases(write(tmp_path) / inside)) == 15


def test_a_missing_case_is_refused_only_where_it_is_needed(tmp_path):
    write(tmp_path)
    (tmp_path / "RawData" / "Training" / "img" / "img0008.nii.gz").unlink()
    (tmp_path / "RawData" / "Training" / "label" / "label0008.nii.gz").unlink()
    assert len(synapse.cases(tmp_path)) == 15
    assert len(synapse.cases(tmp_path, split="all")) == 29
    with pytest.raises(InputError, match=r"img0008\.nii\.gz"):
        synapse.cases(tmp_path, split="test")


def test_a_case_beyond_the_published_ones_is_in_no_split(tmp_path):
    write(tmp_path)
    touch(tmp_path / "RawData" / "Training" / "img" / "img0061.nii.gz")
    touch(tmp_path / "RawData" / "Training" / "label" / "label0061.nii.gz")
    assert len(synapse.cases(tmp_path, split="all")) == 31


def test_the_three_public_remaps():
    one, two, three = (synapse.labels(name) for name in "ABC")
    assert list(one) == [
        "spleen",
        "right kidney",
        "left kidney",
        "gallbladder",
        "liver",
        "stomach",
        "aorta",
        "pancreas",
    ]
    assert list(one.values()) == list(two.values()) == list(three.values()) == list(range(1, 9))
    assert set(one) == set(two) == set(three)
    assert (two["pancreas"], two["aorta"]) == (5, 8)
    assert (three["aorta"], three["left kidney"], three["stomach"]) == (1, 3, 8)
    assert synapse.labels() == one


@needs_shared
def test_remaps_agree_with_the_tables_by_value():
    import json

    tables = json.loads((SHARED / "data" / "abdomen_ct" / "labels.json").read_text())
    for name, table in tables["synapse8_from_btcv13"].items():
        if name[0] in "ABC":
            organs = {value: organ for organ, value in synapse.LABELS.items()}
            expected = {organs[int(source)]: target for source, target in table.items()}
            assert synapse.labels(name[0]) == expected


def test_a_remap_of_ones_own_by_list_or_by_map():
    assert synapse.labels(["liver", "aorta"]) == {"liver": 1, "aorta": 2}
    assert synapse.labels({"liver": 6, "aorta": 200}) == {"liver": 6, "aorta": 200}


@pytest.mark.parametrize(
    ("remap", "message"),
    [
        ("D", "one of A, B, C, got 'D'"),
        (["liver", "brain"], "'brain'"),
        (["liver", "liver"], "names an organ twice"),
        ({"liver": 0}, r"got \[0\]"),
        ({"liver": 2, "aorta": 2}, r"got \[2, 2\]"),
        ([], "none"),
    ],
)
def test_a_remap_that_does_not_fit_is_refused(remap, message):
    with pytest.raises(UsageError, match=message):
        synapse.labels(remap)
