import base64
import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from medseg.report.embed import embed
from medseg.report.scene import read_scene
from tests.report.example import LABELS, case, entry, results, write


@pytest.fixture
def scene(tmp_path):
    one = case("a", liver=entry(dsc=0.5, hd95=1.0), left_kidney=entry(dsc=0.5, hd95=1.0))
    folder = write(tmp_path, results([one]))
    return read_scene(one, LABELS, folder, [])


def unpacked(text):
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_volumes_are_cropped_around_the_organs_with_a_margin(scene):
    volumes = embed(scene, 10**6)
    truth = unpacked(volumes.truth)
    # organs at x 3 to 17, y 4 to 9, z 1 to 4 of 20 x 16 x 6, margins of 10, 10 and 4 voxels
    assert truth.shape == volumes.shape == (20, 16, 6)
    assert np.asarray(truth.dataobj).dtype == np.uint8
    assert np.array_equal(np.asarray(truth.dataobj), scene.classes)
    assert np.array_equal(np.asarray(unpacked(volumes.prediction).dataobj), scene.predicted)
    assert truth.header.get_zooms() == (2.0, 2.0, 5.0)
    assert "2 × 2 × 5 mm, voxels of the file" in volumes.note


def test_a_large_field_is_cut_down_to_the_organs(scene):
    wide = {name: np.pad(getattr(scene, name), 30) for name in ("classes", "predicted", "image")}
    volumes = embed(type(scene)(**{**vars(scene), **wide}), 10**6)
    # x 3 to 17, y 4 to 9, z 1 to 4, each with its margin
    assert volumes.shape == (15 + 20, 6 + 20, 4 + 8)
    assert unpacked(volumes.image).shape == volumes.shape


def test_the_view_starts_where_truth_and_prediction_differ_most(scene):
    volumes = embed(scene, 10**6)
    index = tuple(
        int(share * size) for share, size in zip(volumes.start, volumes.shape, strict=True)
    )
    assert scene.classes[index] != scene.predicted[index]


def test_a_small_budget_makes_voxels_coarser_and_says_so(scene):
    full = embed(scene, 10**6)
    small = embed(scene, full.size - 1)
    assert small.size < full.size
    assert small.shape == (10, 8, 6)  # the two finest axes go first
    assert "coarser than the file by 2 × 2 × 1" in small.note
    image = np.asarray(unpacked(full.image).dataobj).astype(int)
    assert np.asarray(unpacked(small.image).dataobj)[0, 0, 0] == np.rint(image[:2, :2, 0].mean())


def test_what_cannot_fit_is_left_out(scene):
    assert embed(scene, 10) is None


def test_no_header_of_the_file_is_kept(scene):
    header = unpacked(embed(scene, 10**6).image).header
    assert bytes(header["descrip"]).strip(b"\0") == b""
    assert bytes(header["db_name"]).strip(b"\0") == b""
    assert header.extensions == []


def test_organs_without_an_image_are_embedded_without(tmp_path):
    one = case("a", liver=entry(dsc=0.5, hd95=1.0), left_kidney=entry(dsc=0.5, hd95=1.0))
    folder = write(tmp_path, results([one]))
    (folder / one["image"]).unlink()
    volumes = embed(read_scene(one, LABELS, folder, []), 10**6)
    assert volumes.image == ""
    assert "no image" in volumes.note
    assert json.dumps(volumes.start)
