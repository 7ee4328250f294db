import numpy as np
import pytest

from medseg.datasets import synapse, synapse_preprocessed
from medseg.errors import InputError, UsageError
from medseg.volumes import read_volume

pytest.importorskip("h5py")

from tests.datasets.make import synapse_preprocessed as write


def test_the_file_values_are_those_of_the_authors():
    assert synapse_preprocessed.LABELS == {
        "aorta": 1,
        "gallbladder": 2,
        "left kidney": 3,
        "right kidney": 4,
        "liver": 5,
        "pancreas": 6,
        "spleen": 7,
        "stomach": 8,
    }


def test_a_training_case_is_its_slices_in_order_and_a_test_case_its_volume(tmp_path):
    write(tmp_path)
    one, two = synapse_preprocessed.cases(tmp_path, num_val=0)
    assert [path.name for path in one.image] == [f"case0005_slice{i:03d}.npz" for i in range(3)]
    assert one.label == one.image
    assert (one.case_id, two.case_id) == ("case0005", "case0006")
    (test,) = synapse_preprocessed.cases(tmp_path, split="test")
    assert test.case_id == "case0001"

    label = read_volume(one.label, "label").array
    assert label.shape == (8, 8, 3)
    assert [int(label[2, 2, k]) for k in range(3)] == [1, 2, 3]
    np.testing.assert_array_equal(label, read_volume(test.label, "label").array)


def test_slices_are_ordered_by_number_not_by_name(tmp_path):
    folder = tmp_path / "train_npz"
    folder.mkdir()
    for name in ("case0005_slice10", "case0005_slice9"):
        np.savez(folder / f"{name}.npz", image=np.zeros((2, 2)), label=np.zeros((2, 2)))
    (case,) = synapse_preprocessed.cases(tmp_path, num_val=0)
    assert [path.stem for path in case.image] == ["case0005_slice9", "case0005_slice10"]


def test_only_listed_slices_count(tmp_path):
    write(tmp_path)
    path = tmp_path / "lists_Synapse" / "train.txt"
    path.write_text("case0006_slice000\ncase0006_slice001\n")
    (case,) = synapse_preprocessed.cases(tmp_path, num_val=0)
    assert (case.case_id, len(case.image)) == ("case0006", 2)


def test_lists_may_lie_elsewhere(tmp_path):
    write(tmp_path / "data")
    (tmp_path / "data" / "lists_Synapse").rename(tmp_path / "lists")
    (tmp_path / "lists" / "train.txt").write_text("case0005_slice000\n")
    (case,) = synapse_preprocessed.cases(tmp_path / "data", lists=tmp_path / "lists", num_val=0)
    assert len(case.image) == 1


def test_a_listed_slice_or_volume_that_is_missing_is_refused_where_needed(tmp_path):
    write(tmp_path)
    (tmp_path / "train_npz" / "case0005_slice001.npz").unlink()
    assert len(synapse_preprocessed.cases(tmp_path, split="test")) == 1
    with pytest.raises(InputError, match=r"case0005_slice001\.npz"):
        synapse_preprocessed.cases(tmp_path, num_val=0)
    (tmp_path / "test_vol_h5" / "case0001.npy.h5").unlink()
    with pytest.raises(InputError, match=r"case0001\.npy\.h5"):
        synapse_preprocessed.cases(tmp_path, split="test")


def test_a_gap_in_the_slices_is_refused_even_without_lists(tmp_path):
    write(tmp_path)
    for path in (tmp_path / "lists_Synapse").iterdir():
        path.unlink()
    (tmp_path / "train_npz" / "case0005_slice001.npz").unlink()
    with pytest.raises(InputError, match=r"slice-missing: none numbered 001"):
        synapse_preprocessed.cases(tmp_path, num_val=0)


def test_validation_comes_out_of_training(tmp_path):
    write(tmp_path, train=4)
    train, val = (
        {case.case_id for case in synapse_preprocessed.cases(tmp_path, split=s, num_val=1)}
        for s in ("train", "val")
    )
    assert len(val) == 1
    assert train | val == {f"case{i:04d}" for i in (5, 6, 7, 8)}
    assert not train & val
    with pytest.raises(UsageError, match="no validation cases"):
        synapse_preprocessed.cases(tmp_path, split="val", num_val=0)


def test_the_validation_cases_are_those_of_the_raw_data(tmp_path):
    ids = [f"case{number:04d}" for number in synapse.TRAIN_IDS]
    folder = tmp_path / "train_npz"
    folder.mkdir()
    for case_id in ids:
        np.savez(folder / f"{case_id}_slice000.npz", image=np.zeros((2, 2)), label=np.zeros((2, 2)))
    val = synapse_preprocessed.cases(tmp_path, split="val")
    assert [case.case_id for case in val] == synapse.split_ids(synapse.NUM_VAL)["val"]
