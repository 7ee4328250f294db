import json

import pytest

from medseg.datasets.labels import label_map, read_labels
from medseg.errors import InputError


@pytest.mark.parametrize(
    "content",
    [
        {"0": "background", "500": "liver", "1": "spleen"},
        {"background": 0, "liver": 500, "spleen": 1},
        {"spleen": 1, "liver": 500},
        {0: "background", 1: "spleen", 500: "liver"},
    ],
)
def test_both_published_forms_give_organ_to_value_without_background(content):
    assert label_map("dataset.json", content) == {"spleen": 1, "liver": 500}


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"tumour": [1, 2]}, r"\[1, 2\]"),
        ({"liver": 1.5}, "1.5"),
        ({"liver": True}, "True"),
        ({"liver": -1}, "-1"),
        ({"liver": 1, "spleen": 1}, "spleen"),
        ({"1": "lesion", "2": "lesion"}, "lesion"),
        ([], r"\[\]"),
        ({}, "{}"),
    ],
)
def test_a_map_that_is_none_is_refused_with_what_it_was(content, got):
    with pytest.raises(InputError, match=f"dataset.json.*{got}"):
        label_map("dataset.json", content)


def test_labels_come_from_the_argument_a_file_or_the_folder(tmp_path):
    assert read_labels(tmp_path, None) == {}
    (tmp_path / "labels.json").write_text(json.dumps({"liver": 3}))
    (tmp_path / "other.json").write_text(json.dumps({"4": "spleen"}))
    assert read_labels(tmp_path, None) == {"liver": 3}
    assert read_labels(tmp_path, tmp_path / "other.json") == {"spleen": 4}
    assert read_labels(tmp_path, {"aorta": 5}) == {"aorta": 5}
