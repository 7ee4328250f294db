import json
import os
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from medseg.case import Case, write_cases
from medseg.errors import InputError, ModelError, UsageError
from medseg.files import read_json
from medseg.inference import predictor as predictor_module
from medseg.inference.path import choose_path
from medseg.inference.predict import (
    Predictor,
    PredictSettings,
    cases_of,
    pick_device,
    predict,
    predict_volume,
)
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import LoadedModel, ModelSpec, write_model
from medseg.volumes import Volume, read_volume, write_volume


def _threshold_network():
    """Class 1 where the prepared image exceeds one half: 150 HU with the window below."""
    network = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        network.weight[:] = torch.tensor([-10.0, 10.0]).view(2, 1, 1, 1)
        network.bias[:] = torch.tensor([5.0, -5.0])
    return network


def _spec(spacing=None, image_size=(24, 20), zoom=1.0):
    return ModelSpec(
        network={
            "_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1,
        },
        labels={"bone": 7},
        preprocessing=Preprocessing(window=(100, 200), spacing=spacing),
        geometry=SliceGeometry(image_size=image_size, zoom=zoom),
    )  # fmt: skip


@pytest.fixture
def model(tmp_path):
    write_model(tmp_path / "run" / "model", _spec(), _threshold_network(), {})
    return tmp_path / "run"


def _affines():
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = (np.eye(3)[list(order)] * signs) @ np.diag([0.8, 1.0, 2.5])
        affine[:3, 3] = (5, -7, 11)
        yield affine


def _bright_box(shape=(14, 12, 9)):
    image = np.full(shape, -50, dtype=np.int16)
    image[2:5, 3:9, 4:8] = 400
    image[1, 1, 1] = 400
    return image


@pytest.mark.parametrize("affine", list(_affines()), ids=range(48))
def test_every_orientation_returns_voxel_for_voxel_on_its_own_grid(affine):
    volume = Volume(_bright_box(), affine)
    loaded = LoadedModel(_spec(image_size=(14, 14)), _threshold_network().eval(), {})
    found = predict_volume(loaded, volume)
    np.testing.assert_array_equal(found.array, (volume.array > 150) * 7)
    np.testing.assert_array_equal(found.affine, affine)
    assert found.array.dtype == np.uint8


def test_a_resampled_network_still_answers_on_the_native_grid():
    index = np.indices((40, 36, 20))
    ball = (index[0] - 12) ** 2 + (index[1] - 20) ** 2 + (2 * (index[2] - 9)) ** 2 < 100
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    volume = Volume(np.where(ball, 400, -50).astype(np.int16), affine)
    loaded = LoadedModel(
        _spec(spacing=(1.5, 1.5, 3.0), image_size=(32, 32)), _threshold_network().eval(), {}
    )
    found = predict_volume(loaded, volume)
    assert found.array.shape == volume.array.shape
    mask = found.array == 7
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.93


def test_a_folder_gives_one_label_map_per_volume_and_a_manifest(tmp_path, model):
    images = {f"case{index}": _bright_box((10, 11, 5 + index)) for index in range(3)}
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    for (name, image), suffix in zip(images.items(), (".nii.gz", ".nrrd", ".mha"), strict=True):
        write_volume(tmp_path / "in" / f"{name}{suffix}", Volume(image, affine))
    manifest = predict(tmp_path / "in", tmp_path / "out", model=model)
    assert manifest == read_json(tmp_path / "out" / "predictions.json")
    assert manifest["labels"] == {"bone": 7}
    assert [case["status"] for case in manifest["cases"]] == ["done"] * 3
    for name, image in images.items():
        found = read_volume(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_array_equal(found.array, (image > 150) * 7)
        np.testing.assert_allclose(found.affine, affine, atol=1e-6)
        assert found.array.dtype == np.uint8


def test_one_copy_serves_all_volumes_of_a_job_and_is_told_of(tmp_path, model, monkeypatch):
    prepared = []

    def choose(network, sample, precision):
        prepared.append(sample.shape)
        return choose_path(network, sample, precision)

    monkeypatch.setattr(predictor_module, "choose_path", choose)
    for name in ("a", "b", "c"):
        write_volume(tmp_path / "in" / f"{name}.nii.gz", Volume(_bright_box(), np.eye(4)))
    settings = PredictSettings(precision="float32")
    manifest = predict(tmp_path / "in", tmp_path / "out", model=model, settings=settings)
    assert prepared == [(4, 1, 24, 20)]
    assert manifest["path"] == {"precision": "float32", "prepared": True, "why": "as asked"}


@pytest.mark.parametrize(
    ("name", "said"),
    [("meta", "expected auto"), ("xpu", "expected auto"), ("gpu", "expected auto"),
     ("cuda:99", "no CUDA device 99 here")],
)  # fmt: skip
def test_a_device_that_is_unknown_or_not_here_is_refused(name, said):
    with pytest.raises(UsageError, match=f"device '{name}': .*{said}"):
        pick_device(name)


def test_a_job_without_a_readable_case_has_no_path(tmp_path, model):
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii").write_bytes(b"no volume")
    assert predict(tmp_path, tmp_path / "out", model=model)["path"] is None


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_every_precision_finds_the_box_and_leaves_the_model_as_it_was(precision):
    loaded = LoadedModel(_spec(image_size=(14, 14)), _threshold_network().eval(), {})
    before = loaded.network.weight.clone()
    predictor = Predictor(loaded, PredictSettings(device="cpu", precision=precision))
    volume = Volume(_bright_box(), np.eye(4))
    for _ in range(2):
        np.testing.assert_array_equal(predictor(volume).array, (volume.array > 150) * 7)
    assert loaded.network.weight.equal(before)
    assert type(loaded.network) is nn.Conv2d


def test_an_unknown_precision_is_refused_before_anything_is_written(tmp_path, model):
    write_volume(tmp_path / "a.nii.gz", Volume(_bright_box(), np.eye(4)))
    with pytest.raises(UsageError, match=r"precision 'half': expected one of auto"):
        predict(
            tmp_path / "a.nii.gz", tmp_path / "out", model=model,
            settings=PredictSettings(precision="half"),
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_one_bad_case_never_stops_the_others_and_leaves_nothing_half_written(tmp_path, model):
    for name in ("a", "b", "c"):
        write_volume(tmp_path / "in" / f"{name}.nii.gz", Volume(_bright_box(), np.eye(4)))
    bad = tmp_path / "in" / "b.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-40])
    image = np.full((4, 4, 4), np.nan, dtype=np.float32)
    write_volume(tmp_path / "in" / "d.nii.gz", Volume(image, np.eye(4)))
    manifest = predict(tmp_path / "in", tmp_path / "out", model=model)
    status = {case["case_id"]: case["status"] for case in manifest["cases"]}
    assert status == {"a": "done", "b": "failed", "c": "done", "d": "failed"}
    errors = [case["error"] for case in manifest["cases"] if case["status"] == "failed"]
    assert "b.nii.gz: expected a readable volume" in errors[0]
    assert "NaN" in errors[1]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [".journal", "a.nii.gz", "c.nii.gz", "predictions.json"]


def test_a_case_list_names_the_outputs(tmp_path, model):
    write_volume(tmp_path / "scan.nii.gz", Volume(_bright_box(), np.eye(4)))
    write_cases(tmp_path / "cases.json", [Case("patient7_ED", tmp_path / "scan.nii.gz")])
    predict(tmp_path / "cases.json", tmp_path / "out", model=model / "model")
    assert (tmp_path / "out" / "patient7_ED.nii.gz").is_file()


def test_label_maps_are_replaced_only_when_asked(tmp_path, model):
    write_volume(tmp_path / "a.nii.gz", Volume(_bright_box(), np.eye(4)))
    write_volume(tmp_path / "out" / "a.nii.gz", Volume(_bright_box(), np.eye(4)))
    with pytest.raises(UsageError, match="--overwrite"):
        predict(tmp_path / "a.nii.gz", tmp_path / "out", model=model)
    settings = PredictSettings(overwrite=True)
    predict(tmp_path / "a.nii.gz", tmp_path / "out", model=model, settings=settings)


def test_nothing_to_predict_is_refused(tmp_path, model):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="at least one volume"):
        predict(tmp_path / "empty", tmp_path / "out", model=model)
    with pytest.raises(InputError, match="no such file"):
        predict(tmp_path / "nowhere.nii.gz", tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_refused_before_anything_is_written(tmp_path):
    write_volume(tmp_path / "a.nii.gz", Volume(_bright_box(), np.eye(4)))
    with pytest.raises(ModelError):
        predict(tmp_path / "a.nii.gz", tmp_path / "out", model=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_case_id_cannot_climb_out_of_the_output_folder(tmp_path):
    content = {"cases": [{"case_id": "../../evil", "image": "a.nii.gz"}]}
    (tmp_path / "cases.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="plain file names"):
        cases_of(tmp_path / "cases.json")


def test_two_volumes_of_one_name_are_refused(tmp_path):
    for suffix in (".nii", ".nrrd"):
        write_volume(tmp_path / f"a{suffix}", Volume(_bright_box(), np.eye(4)))
    with pytest.raises(InputError, match="one volume per case id"):
        cases_of(tmp_path)


def test_finder_files_are_no_volumes(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(_bright_box(), np.eye(4)))
    (tmp_path / "._a.nii").write_bytes(b"\0")
    assert [case.case_id for case in cases_of(tmp_path)] == ["a"]


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cud"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(UsageError, match="device"):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_cuda_is_refused_and_auto_is_the_cpu():
    with pytest.raises(UsageError, match="no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path, model):
    write_volume(tmp_path / "a.nii.gz", Volume(_bright_box(), np.eye(4)))
    (tmp_path / "out").mkdir(mode=0o500)
    manifest = predict(tmp_path / "a.nii.gz", tmp_path / "out", model=model)
    assert manifest["cases"][0]["status"] == "failed"


def test_the_label_map_opens_in_nibabel_with_the_inputs_header_geometry(tmp_path, model):
    affine = np.array([[0, 0, 3.0, 1], [0.8, 0, 0, 2], [0, -0.8, 0, 3], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(_bright_box(), affine), tmp_path / "a.nii.gz")
    predict(tmp_path / "a.nii.gz", tmp_path / "out", model=model)
    written = nib.load(tmp_path / "out" / "a.nii.gz")
    given = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(written.affine, given.affine, atol=1e-6)
    assert nib.aff2axcodes(written.affine) == nib.aff2axcodes(given.affine)
    assert written.header.get_data_dtype() == np.uint8
