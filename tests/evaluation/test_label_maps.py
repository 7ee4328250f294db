import json

import pytest

from medseg.errors import InputError, UsageError
from medseg.evaluation.label_maps import checked_labels, labels_beside, with_regions


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "labels",
    [
        {"liver": 1, "spleen": 7},
        {"background": 0, "liver": 1, "spleen": 7},  # as nnU-Net
        {"0": "background", "1": "liver", "7": "spleen"},  # as the Decathlon
    ],
)
def test_labels_are_read_in_either_direction_and_without_background(tmp_path, labels):
    write(tmp_path / "dataset.json", {"labels": labels})
    assert labels_beside(tmp_path) == {"liver": 1, "spleen": 7}


def test_the_nearest_folder_and_the_predictions_own_file_come_first(tmp_path):
    near = tmp_path / "near"
    write(tmp_path / "dataset.json", {"labels": {"far": 1}})
    assert labels_beside(near, tmp_path) == {"far": 1}
    write(near / "dataset.json", {"labels": {"near": 1}})
    assert labels_beside(near, tmp_path) == {"near": 1}
    write(near / "predictions.json", {"labels": {"own": 1}})
    assert labels_beside(near, tmp_path) == {"own": 1}


def test_where_nothing_is_told_there_are_no_labels(tmp_path):
    write(tmp_path / "dataset.json", {"name": "a data set without labels"})
    assert labels_beside(tmp_path, tmp_path / "nowhere") is None


def test_a_labels_file_is_the_map_itself_or_none_of_ours(tmp_path):
    write(tmp_path / "labels.json", {"liver": 3})
    assert labels_beside(tmp_path) == {"liver": 3}
    write(tmp_path / "labels.json", {"table": {"1": "liver"}, "other": {"2": "liver"}})
    assert labels_beside(tmp_path) is None


@pytest.mark.parametrize(
    "labels",
    [
        ["liver"],
        {"liver": [1, 1.5]},
        {"liver": []},
        {"liver": 1.5},
        {"liver": 1, "spleen": 1},
        {"1": "liver", "2": "liver"},
        {"background": 0},
    ],
)
def test_labels_that_make_no_sense_are_refused_with_their_file(tmp_path, labels):
    write(tmp_path / "dataset.json", {"labels": labels})
    with pytest.raises(InputError, match=r"dataset\.json: expected"):
        labels_beside(tmp_path)


def test_labels_given_by_the_user_are_checked_too():
    assert checked_labels({"background": 0, "liver": 3}) == {"liver": 3}
    with pytest.raises(UsageError, match="organ"):
        checked_labels({})
    with pytest.raises(UsageError, match="spleen"):
        checked_labels({"liver": 2, "spleen": 2})


def test_regions_are_read_as_nnunet_writes_them(tmp_path):
    labels = {"background": 0, "whole tumour": [1, 2], "core": [2]}
    write(tmp_path / "dataset.json", {"labels": labels})
    assert labels_beside(tmp_path) == {"whole tumour": (1, 2), "core": (2,)}


def test_a_region_is_made_of_the_values_of_its_parts():
    organs = {"core": 4, "oedema": (2, 3), "other": -1}
    found = with_regions(organs, {"tumour": ("oedema", "core"), "unknown": ("core", "lung")})
    assert found == organs | {"tumour": (2, 3, 4)}


def test_a_region_may_not_take_the_name_of_an_organ():
    with pytest.raises(UsageError, match="a new name and its parts, got the name of an organ"):
        with_regions({"core": 1}, {"core": ("core",)})
