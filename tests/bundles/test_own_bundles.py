"""A bundle that ``medseg export`` wrote predicts as the model folder that it was made of."""

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.cli import run
from medseg.export.bundle import write_bundle
from medseg.files import sha256
from medseg.inference.predict import PredictSettings, predict
from medseg.model import read_model
from tests.bundles.zoo_bundles import write_images
from tests.export.models import SPECS, write


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def both(tmp_path, name):
    model = write(tmp_path, name)
    write_bundle(read_model(model), tmp_path / "bundle", {})
    return model, tmp_path / "bundle"


@pytest.mark.parametrize("name", SPECS)
def test_label_maps_equal_those_of_the_model_folder(name, tmp_path, images):
    model, bundle = both(tmp_path, name)
    settings = PredictSettings(precision="float32")
    wanted = predict(images, tmp_path / "wanted", model=model, settings=settings)
    got = predict(images, tmp_path / "got", model=bundle, settings=settings)
    for image in images.iterdir():
        one, other = (nib.load(tmp_path / place / image.name) for place in ("wanted", "got"))
        assert np.array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
        assert np.array_equal(one.affine, other.affine)
    assert got["labels"] == wanted["labels"]
    assert got["model"]["network"] == wanted["model"]["network"]


def test_options_of_prediction_work_as_for_a_model_folder(tmp_path, images):
    _, bundle = both(tmp_path, "3D U-Net")
    settings = PredictSettings(overlap=0.25, tta="left_right", extras=("probabilities",))
    done = predict(images, tmp_path / "out", model=[bundle, bundle], settings=settings)
    assert {case["status"] for case in done["cases"]} == {"done"}
    assert len(list((tmp_path / "out").glob("*.npy"))) == 2


def certified(bundle):
    files = {path.relative_to(bundle).as_posix(): sha256(path) for path in bundle.rglob("*.*")}
    (bundle / "certificate.json").write_text(json.dumps({"files": files}))


@pytest.mark.parametrize("name", ["models/model.pt", "configs/medseg.json"])
@pytest.mark.parametrize("with_certificate", [True, False])
def test_a_damaged_file_is_named(name, with_certificate, tmp_path, images, capsys):
    _, bundle = both(tmp_path, "U-Net")
    if with_certificate:
        certified(bundle)
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: len(content) // 2])
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(bundle)]
    assert run([*command, "--no-progress"]) == 6
    said = capsys.readouterr().err
    assert name in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_weights_of_another_export_are_refused(tmp_path, images, capsys):
    _, bundle = both(tmp_path, "U-Net")
    certified(bundle)
    (bundle / "models" / "model.pt").write_bytes(b"other")
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(bundle)]
    assert run([*command, "--no-progress"]) == 6
    assert "as exported" in capsys.readouterr().err


def test_other_configs_of_the_bundle_are_not_read(tmp_path, images):
    _, bundle = both(tmp_path, "U-Net")
    for name in ("inference", "evaluate", "train", "metadata"):
        (bundle / "configs" / f"{name}.json").write_text("$__import__('os').system('false')")
    done = predict(images, tmp_path / "out", model=bundle)
    assert {case["status"] for case in done["cases"]} == {"done"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("network", {"_target_": "os.system", "command": "true"}), ("network", None),
     ("labels", {"liver": "$1"}), ("preprocessing", {"_target_": "os.system"})],
)  # fmt: skip
def test_a_card_made_to_do_harm_is_refused(key, value, tmp_path, images, capsys):
    _, bundle = both(tmp_path, "U-Net")
    path = bundle / "configs" / "medseg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(bundle)]
    assert run([*command, "--no-progress"]) == 6
    assert capsys.readouterr().err.count("\n") == 1
