import json
from pathlib import Path

import pytest

from medseg.case import Case, write_cases
from medseg.errors import InputError
from medseg.evaluation.pairs import find_pairs, volumes_in

LABELS = {"liver": 1}


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def write_json(path, content):
    path.write_text(json.dumps(content))


def case_list(tmp_path, *cases):
    write_cases(tmp_path / "cases.json", cases)
    return tmp_path / "cases.json"


def matched(pairs):
    return {pair.case_id: pair.prediction and pair.prediction.name for pair in pairs}


def test_files_of_one_stem_belong_together_whatever_their_format(tmp_path):
    predictions = touch(tmp_path / "out", "b.nii.gz", "a.v2.mha", "surplus.nii", "notes.txt")
    truth = touch(tmp_path / "truth", "a.v2.nii", "b.nrrd", "c.nii.gz", ".hidden.nii")
    pairs, surplus = find_pairs(predictions, truth, labels=LABELS)
    assert matched(pairs) == {"a.v2": "a.v2.mha", "b": "b.nii.gz", "c": None}
    assert surplus == ["surplus.nii"]
    assert "missing prediction" in pairs[2].reason
    assert str(predictions) in pairs[2].reason


def test_a_case_list_matches_by_case_id_then_by_the_names_of_its_files(tmp_path):
    data = touch(tmp_path / "data", "img1.nii", "seg1.nii", "img2.nii", "seg2.nii", "img3.nii")
    truth = case_list(
        tmp_path,
        Case("one", data / "img1.nii", data / "seg1.nii", {"liver": 6}),
        Case("two", data / "img2.nii", data / "seg2.nii", {"liver": 6}),
        Case("three", data / "img3.nii", data / "seg3.nii", {"liver": 6}),
        Case("unlabelled", data / "img3.nii"),
    )
    predictions = touch(tmp_path / "out", "one.nii", "seg2.nii", "img3.nii")
    pairs, surplus = find_pairs(predictions, truth, labels=LABELS)
    assert matched(pairs) == {"one": "one.nii", "two": "seg2.nii", "three": "img3.nii"}
    assert surplus == []
    assert [pair.image.name for pair in pairs] == ["img1.nii", "img2.nii", "img3.nii"]
    assert {pair.truth_labels["liver"] for pair in pairs} == {6}


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    out, seg = touch(tmp_path, "out.nii.gz", "truth.nii") / "out.nii.gz", tmp_path / "truth.nii"
    (pair,), _ = find_pairs(out, seg, labels=LABELS)
    assert (pair.case_id, pair.prediction, pair.label) == ("out", out, seg)


def test_one_prediction_is_looked_up_in_a_folder_of_truth(tmp_path):
    out = touch(tmp_path / "out", "b.nii.gz", "a.nii.gz") / "b.nii.gz"
    truth = touch(tmp_path / "truth", "a.nii.gz", "b.nii.gz")
    pairs, _ = find_pairs(out, truth, labels=LABELS)
    assert matched(pairs) == {"b": "b.nii.gz"}


def test_a_list_of_pairs_is_taken_as_it_is(tmp_path):
    touch(tmp_path, "x.nii", "y.nii", "s.nii", "t.nii")
    files = [
        (tmp_path / "x.nii", tmp_path / "s.nii"),
        (str(tmp_path / "y.nii"), tmp_path / "t.nii"),
    ]
    pairs, _ = find_pairs(files, None, labels=LABELS)
    assert matched(pairs) == {"x": "x.nii", "y": "y.nii"}
    assert [Path(pair.label).name for pair in pairs] == ["s.nii", "t.nii"]


def test_nothing_that_fits_together_is_refused_with_an_example_of_both(tmp_path):
    predictions = touch(tmp_path / "out", "alpha.nii")
    truth = touch(tmp_path / "truth", "beta.nii")
    with pytest.raises(InputError, match=r"such as beta, got only alpha"):
        find_pairs(predictions, truth, labels=LABELS)


def test_a_prediction_that_two_cases_claim_is_refused(tmp_path):
    for folder in ("one", "two"):
        touch(tmp_path / folder, "label.nii", "image.nii")
    truth = case_list(
        tmp_path,
        *(Case(n, tmp_path / n / "image.nii", tmp_path / n / "label.nii") for n in ("one", "two")),
    )
    predictions = touch(tmp_path / "out", "label.nii")
    with pytest.raises(InputError, match=r"label\.nii: expected one case to belong to.*one, two"):
        find_pairs(predictions, truth, labels=LABELS)


def test_two_files_of_one_stem_are_refused_but_arrays_beside_label_maps_ignored(tmp_path):
    folder = touch(tmp_path / "out", "a.npz", "a.nii.gz", "b.npz")
    assert {stem: path.name for stem, path in volumes_in(folder).items()} == {
        "a": "a.nii.gz",
        "b": "b.npz",
    }
    touch(folder, "a.mha")
    with pytest.raises(InputError, match=r"one file per case, got a\.mha and a\.nii\.gz"):
        volumes_in(folder)


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        find_pairs(tmp_path / "nowhere", tmp_path, labels=LABELS)
    with pytest.raises(InputError, match="got none"):
        find_pairs(tmp_path, tmp_path, labels=LABELS)
    with pytest.raises(InputError, match="an empty list"):
        find_pairs([], None, labels=LABELS)


def test_labels_come_from_beside_the_files_unless_they_are_given(tmp_path):
    predictions = touch(tmp_path / "out", "a.nii")
    truth = touch(tmp_path / "data" / "labelsTs", "a.nii")

    with pytest.raises(InputError, match=r"predictions\.json beside the label maps"):
        find_pairs(predictions, truth)
    write_json(tmp_path / "data" / "dataset.json", {"labels": {"1": "liver", "2": "spleen"}})
    (pair,), _ = find_pairs(predictions, truth)
    assert pair.labels == pair.truth_labels == {"liver": 1, "spleen": 2}
    write_json(predictions / "predictions.json", {"labels": {"liver": 9}})
    (pair,), _ = find_pairs(predictions, truth)
    assert (pair.labels, pair.truth_labels) == ({"liver": 9}, {"liver": 1, "spleen": 2})
    (pair,), _ = find_pairs(predictions, truth, labels={"spleen": 3}, truth_labels={"spleen": 4})
    assert (pair.labels, pair.truth_labels) == ({"spleen": 3}, {"spleen": 4})


def test_a_truth_without_names_has_those_of_the_predictions(tmp_path):
    folders = touch(tmp_path / "out", "a.nii"), touch(tmp_path / "truth", "a.nii")
    (pair,), _ = find_pairs(*folders, labels=LABELS)
    assert pair.truth_labels == LABELS


def test_images_are_found_by_name_or_in_what_predict_noted(tmp_path):
    predictions = touch(tmp_path / "out", "a.nii", "b.nii", "c.nii")
    truth = touch(tmp_path / "truth", "a.nii", "b.nii", "c.nii")
    noted = [{"case_id": "a", "image": "/scan/a.nii"}, {"case_id": "b", "image": ["/1", "/2"]}]
    write_json(predictions / "predictions.json", {"labels": LABELS, "cases": noted})
    pairs, _ = find_pairs(predictions, truth)
    assert [pair.image for pair in pairs] == [Path("/scan/a.nii"), (Path("/1"), Path("/2")), None]

    images = touch(tmp_path / "images", "a.nii.gz", "b_0000.nii.gz")
    pairs, _ = find_pairs(predictions, truth, images=images)
    assert [pair.image and pair.image.name for pair in pairs] == [
        "a.nii.gz",
        "b_0000.nii.gz",
        None,
    ]


def test_a_label_map_of_an_earlier_run_does_not_stand_in_for_a_failed_one(tmp_path):
    predictions = touch(tmp_path / "out", "a.nii")
    truth = touch(tmp_path / "truth", "a.nii")
    failed = [{"case_id": "a", "image": "/a.nii", "status": "failed", "error": "out of memory"}]
    write_json(predictions / "predictions.json", {"labels": LABELS, "cases": failed})
    (pair,), _ = find_pairs(predictions, truth)
    assert pair.prediction is None
    assert "out of memory" in pair.reason
