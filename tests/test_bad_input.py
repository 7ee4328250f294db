"""What a user sees when something is wrong: one line, the exit code, nothing half-written."""

import errno
import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from medseg import cli
from medseg.datasets import phantom
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, write_model
from medseg.volumes import Volume, read_volume, write_label_map, write_volume

TRAIN = [
    "image_size=[32,32]", "network::hidden_size=24", "network::num_layers=1",
    "network::width_factor=0.125", "network::decoder_channels=[16,16,8,8,8]",
    "train_loader::batch_size=2", "train_loader::batches_per_epoch=1", "settings::max_epochs=1",
    "settings::device=cpu", "settings::precision=float32",
]  # fmt: skip
CASE = "phantom_train_0000"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    phantom.write(folder, counts={"train": 2, "val": 1, "test": 1}, size=(24, 24, 8))
    return folder


@pytest.fixture
def data(good, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    return shutil.copytree(good, tmp_path / "data")


@pytest.fixture
def model(tmp_path):
    spec = ModelSpec(
        network={"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2,
                 "kernel_size": 1},
        labels={"liver": 5},
        preprocessing=Preprocessing(window=(-125, 275)),
        geometry=SliceGeometry(image_size=(24, 24)),
    )  # fmt: skip
    torch.manual_seed(0)
    write_model(tmp_path / "model", spec, nn.Conv2d(1, 2, 1), {})
    return tmp_path / "model"


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


def _not_gzip(path):
    path.write_text("this is no volume")


def _empty_gzip(path):
    path.write_bytes(gzip.compress(b""))


def _nan(path):
    volume = read_volume(path)
    array = volume.array.astype(np.float32)
    array[3, 4, 5] = np.nan
    write_volume(path, Volume(array, volume.affine))


def _four_axes(path):
    volume = read_volume(path)
    array = np.stack([volume.array] * 3, axis=-1)
    nib.save(nib.Nifti1Image(array, volume.affine), path)


def _cut_off(path):
    volume = read_volume(path)
    write_volume(path, Volume(volume.array[:-2], volume.affine))


def _shift(path):
    volume = read_volume(path)
    affine = volume.affine.copy()
    affine[:3, 3] += 40
    write_volume(path, Volume(volume.array, affine))


def _unknown_value(path):
    volume = read_volume(path)
    array = volume.array.copy()
    array[0, 0, 0] = 99
    write_label_map(path, Volume(array, volume.affine))


def _remove(path):
    path.unlink()


IMAGE_FAULTS = {
    "truncated": (_truncate, "damaged or truncated"),
    "no volume": (_not_gzip, "damaged or truncated"),
    "empty": (_empty_gzip, "damaged or truncated"),
    "missing": (_remove, "no such file"),
    "NaN": (_nan, "NaN"),
    "four axes": (_four_axes, "3D"),
}
LABEL_FAULTS = {
    "truncated": (_truncate, "damaged or truncated"),
    "missing": (_remove, "no such file"),
    "wrong shape": (_cut_off, "shape"),
    "another grid": (_shift, "mm"),
    "unknown value": (_unknown_value, "99"),
}


def _one_line(capsys):
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    lines = [line for line in shown.err.splitlines() if line.startswith("medseg: ")]
    assert len(lines) == 1, shown.err
    return lines[0]


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("part", "fault"),
    [("images", fault) for fault in IMAGE_FAULTS] + [("labels", fault) for fault in LABEL_FAULTS],
)
def test_training_refuses_a_bad_case_by_name_and_writes_no_run(part, fault, data, tmp_path, capsys):
    spoil, word = (IMAGE_FAULTS if part == "images" else LABEL_FAULTS)[fault]
    spoil(data / part / f"{CASE}.nii.gz")
    arguments = ["train", "phantom_transunet", *TRAIN, f"data={data}", "--workers", "1"]
    code = cli.run([*arguments, f"out_dir={tmp_path / 'run'}", "--no-progress"])
    line = _one_line(capsys)
    assert code == 3, line
    assert CASE in line
    assert word in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fault", [fault for fault in IMAGE_FAULTS if fault != "missing"])
def test_prediction_goes_on_without_a_bad_case(fault, data, model, tmp_path, capsys):
    spoil, word = IMAGE_FAULTS[fault]
    spoil(data / "images" / f"{CASE}.nii.gz")
    command = ["predict", "-i", str(data / "images"), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.run([*command, "--no-progress"]) == 4
    shown = capsys.readouterr()
    assert "1 of 4 cases failed" in shown.err
    assert word in shown.err
    assert "Traceback" not in shown.err
    written = [name for name in _files(tmp_path / "out") if name.endswith(".nii.gz")]
    assert len(written) == 3
    assert f"{CASE}.nii.gz" not in written


def test_an_only_bad_case_is_refused_as_input(data, model, tmp_path, capsys):
    image = data / "images" / f"{CASE}.nii.gz"
    _truncate(image)
    command = ["predict", "-i", str(image), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.run([*command, "--no-progress"]) == 3
    assert "damaged or truncated" in _one_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_evaluation_goes_on_without_a_bad_case(fault, data, tmp_path, capsys):
    spoil, word = LABEL_FAULTS[fault]
    predictions = shutil.copytree(data / "labels", tmp_path / "predictions")
    spoil(predictions / f"{CASE}.nii.gz")
    pairs = ",".join(f"{organ}={value}" for organ, value in phantom.LABELS.items())
    command = ["evaluate", "-i", str(predictions), "-l", str(data / "labels")]
    command += ["-o", str(tmp_path / "out"), "--organs", pairs, "--workers", "1", "--no-progress"]
    assert cli.run(command) == 4
    shown = capsys.readouterr()
    assert "1 of 4 cases failed" in shown.err
    assert CASE in shown.err
    assert (word if fault != "missing" else "prediction") in shown.err
    shown_files = [name for name in _files(tmp_path / "out") if not name.startswith(".journal/")]
    assert shown_files == ["results.csv", "results.json", "results.tex", "summary.json"]


def test_a_full_disk_ends_with_five_and_leaves_nothing(data, model, tmp_path, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    image = data / "images" / f"{CASE}.nii.gz"
    command = ["predict", "-i", str(image), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.run([*command, "--no-progress"]) == 5
    assert "the disk is full" in _one_line(capsys)
    assert _files(tmp_path / "out") == []


def test_a_damaged_model_ends_with_six(data, model, tmp_path, capsys):
    (model / "weights.safetensors").write_bytes(b"nonsense")
    command = ["predict", "-i", str(data / "images"), "-o", str(tmp_path / "out")]
    assert cli.run([*command, "-m", str(model), "--no-progress"]) == 6
    assert "SHA-256" in _one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_an_unknown_organ_in_a_config_is_named(data, tmp_path, capsys):
    arguments = ["train", "phantom_transunet", *TRAIN, f"data={data}", 'labels={"livr": 1}']
    assert cli.run([*arguments, f"out_dir={tmp_path / 'run'}", "--no-progress"]) in (2, 3)
    assert "livr" in _one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_diverging_training_stops_with_a_word_on_what_to_try(data, tmp_path, capsys):
    arguments = ["train", "phantom_transunet", *TRAIN, f"data={data}", "--workers", "1"]
    arguments += ["optimizer::lr=1e30", "settings::max_epochs=20", "settings::clip_norm=null"]
    assert cli.run([*arguments, f"out_dir={tmp_path / 'run'}", "--no-progress"]) == 2
    assert "learning rate" in _one_line(capsys)
