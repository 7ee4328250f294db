"""A picture per case: what is in it, when it is drawn, and that it never spoils a job."""

import json

import cv2
import numpy as np
import pytest

from medseg import cli
from medseg.errors import InputError
from medseg.files import write_json
from medseg.preview import _middle, draw, preview
from medseg.report.colours import organ_colours
from medseg.volumes import Volume, write_label_map, write_volume
from tests.inference.small import write_images, write_threshold_model
from tests.shared import SHARED, needs_shared

ABDOMEN = SHARED / "data" / "abdomen_ct" / "ts_full"
FLIPPED = np.array([[0, 0, 2.0, 0], [-1, 0, 0, 40], [0, 1.5, 0, 0], [0, 0, 0, 1]])


@pytest.fixture
def folder(tmp_path):
    """A bright block in the patient's right half, told as two organs."""
    image = np.full((30, 24, 20), -1000, np.int16)  # axes: back, up, right
    image[4:26, 4:20, 3:17] = 40
    image[0, 0, 0] = 1000
    labels = np.zeros(image.shape, np.uint8)
    labels[8:20, 6:18, 12:16] = 1
    labels[8:20, 6:18, 4:8] = 2
    write_volume(tmp_path / "ct.nii.gz", Volume(image, FLIPPED))
    write_label_map(tmp_path / "a.nii.gz", Volume(labels, FLIPPED))
    case = {"case_id": "a", "image": str(tmp_path / "ct.nii.gz"), "prediction": "a.nii.gz"}
    manifest = {"labels": {"liver": 1, "spleen": 2}, "cases": [case | {"status": "done"}]}
    write_json(tmp_path / "predictions.json", manifest)
    return tmp_path


def columns_of(picture, colour):
    """Columns of the first plane in which a colour is drawn."""
    blue, green, red = (int(colour[at : at + 2], 16) for at in (5, 3, 1))
    first = picture[: int(0.9 * picture.shape[0]), : picture.shape[1] // 3].astype(int)
    near = np.abs(first - [blue, green, red]).sum(axis=2) < 60
    return np.flatnonzero(near.any(axis=0))


def test_organs_are_outlined_with_the_patients_right_on_the_left(folder):
    assert preview(folder) == {}
    picture = cv2.imread(str(folder / "a.png"))
    liver, spleen = organ_colours(["liver", "spleen"]).values()
    assert columns_of(picture, liver).size > 10
    assert columns_of(picture, spleen).size > 10
    assert columns_of(picture, liver).max() < columns_of(picture, spleen).min()


def test_a_picture_is_drawn_again_only_for_a_newer_label_map(folder):
    preview(folder)
    before = (folder / "a.png").stat().st_mtime_ns
    preview(folder)
    assert (folder / "a.png").stat().st_mtime_ns == before
    empty = np.zeros((30, 24, 20), np.uint8)
    write_label_map(folder / "a.nii.gz", Volume(empty, FLIPPED))
    preview(folder)
    assert (folder / "a.png").stat().st_mtime_ns > before


def test_a_case_that_cannot_be_drawn_is_told_and_the_others_are(folder):
    content = json.loads((folder / "predictions.json").read_text())
    lost = content["cases"][0] | {"case_id": "b", "image": "/nowhere.nii"}
    failed = {"case_id": "c", "image": "x", "status": "failed", "error": "NaN"}
    content["cases"] = [lost, failed, *content["cases"]]
    write_json(folder / "predictions.json", content)
    told = preview(folder)
    assert list(told) == ["b"]
    assert "no such file" in told["b"]
    assert (folder / "a.png").is_file()


def test_grids_that_differ_are_not_drawn_over_each_other(folder):
    write_label_map(folder / "a.nii.gz", Volume(np.zeros((3, 4, 5), np.uint8), FLIPPED))
    assert "on the grid" in preview(folder)["a"]
    moved = FLIPPED.copy()
    moved[0, 3] += 1.0
    write_label_map(folder / "a.nii.gz", Volume(np.zeros((30, 24, 20), np.uint8), moved))
    assert "got one 1.00 mm away" in preview(folder)["a"]


def test_planes_go_through_the_middle_of_the_slice_with_most_organs():
    classes = np.zeros((9, 8, 6), np.uint8)
    classes[:, :, 1] = 1  # most voxels
    classes[2:5, 3:6, 4] = 2
    classes[2:5, 3, 4] = 1  # both organs
    assert _middle(classes) == (3, 4, 4)
    assert _middle(np.zeros((9, 8, 6), np.uint8)) == (4, 4, 3)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"predictions\.json"):
        preview(tmp_path)


def test_the_command_draws_what_it_predicts(tmp_path, capsys):
    images = write_images(tmp_path / "in", 2)
    model = write_threshold_model(tmp_path / "model")
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.run([*command, "--format", "mha", "--preview", "--no-progress"]) == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("*.*") if path.is_file())
    wanted = ["case_000.mha", "case_000.png", "case_001.mha", "case_001.png", "predictions.json"]
    assert names == wanted


@needs_shared
def test_an_abdominal_ct_shows_its_organs_in_three_planes(tmp_path):
    names = json.loads((SHARED / "data" / "abdomen_ct" / "labels.json").read_text())["btcv13"]
    organs = {organ: int(value) for value, organ in names.items()}
    draw(tmp_path / "ct.png", ABDOMEN / "image.nii.gz", ABDOMEN / "label_btcv13.nii.gz", organs)
    picture = cv2.imread(str(tmp_path / "ct.png"))
    assert picture.shape[1] > 1000
    colours = organ_colours(organs)
    shown = [organ for organ in organs if columns_of(picture, colours[organ]).size > 3]
    assert {"liver", "spleen", "kidney_left", "kidney_right", "aorta"} <= set(shown)
