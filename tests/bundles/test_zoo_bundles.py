"""Bundles in the manner of the model zoo give with ``predict -m`` what MONAI gives with them."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from medseg.cli import run
from medseg.errors import UsageError
from medseg.inference.predict import PredictSettings, predict
from tests.bundles.zoo_bundles import spleen, write, write_config, write_images

LABELS = {"spleen": {"spleen": 1}, "abdomen": {"liver": 1, "aorta": 6, "vein": 7}}


def monai_label_map(bundle, image, output):
    config = next((bundle / "configs").glob("inference.*"))
    arguments = output / "arguments.json"
    output.mkdir(parents=True)
    arguments.write_text(json.dumps({
        "config_file": str(config), "dataset#data": [{"image": str(image)}],
        "output_dir": str(output), "bundle_root": str(bundle),
    }))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "--args_file", str(arguments)],
        cwd=bundle, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = output.rglob("*.nii.gz")
    return nib.load(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
def test_label_maps_are_those_of_monai(name, tmp_path):
    bundle, images = write(tmp_path / "bundle", name), write_images(tmp_path / "images")
    done = predict(images, tmp_path / "out", model=bundle)
    assert done["labels"] == LABELS[name]
    for image in sorted(images.iterdir()):
        wanted = monai_label_map(bundle, image, tmp_path / "monai" / image.name)
        got = nib.load(tmp_path / "out" / image.name)
        np.testing.assert_allclose(got.affine, nib.load(image).affine, atol=1e-4)
        wanted, got = np.asarray(wanted.dataobj), np.asarray(got.dataobj)
        assert 0.02 < (wanted > 0).mean() < 0.98
        assert (wanted == got).mean() >= 0.9999


@pytest.mark.parametrize("name", LABELS)
def test_label_maps_lie_on_the_grid_of_the_image_and_hold_the_organs_values(name, tmp_path):
    bundle, images = write(tmp_path / "bundle", name), write_images(tmp_path / "images")
    done = predict(images, tmp_path / "out", model=bundle)
    assert done["model"]["network"].startswith("monai.networks.nets.")
    for image in images.iterdir():
        label, grid = nib.load(tmp_path / "out" / image.name), nib.load(image)
        assert label.shape == grid.shape
        np.testing.assert_allclose(label.affine, grid.affine, atol=1e-5)
        assert set(np.unique(label.dataobj)) <= {0, *LABELS[name].values()}


def test_a_label_map_on_the_networks_grid_is_brought_to_the_images(tmp_path):
    bundle, images = write(tmp_path / "bundle"), write_images(tmp_path / "images")
    config = spleen()
    transforms = config["postprocessing"]["transforms"]
    inversion = transforms.pop(1) | {"nearest_interp": True}
    for place in ("left", "inverted"):
        write_config(bundle, config)
        predict(images, tmp_path / place, model=bundle)
        transforms.insert(2, inversion)
    for image in images.iterdir():
        one, other = (nib.load(tmp_path / place / image.name) for place in ("inverted", "left"))
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
        assert (np.asarray(one.dataobj) == np.asarray(other.dataobj)).mean() > 0.95


def test_a_job_is_resumed_and_begun_anew_when_the_bundle_changes(tmp_path):
    bundle, images = write(tmp_path / "bundle"), write_images(tmp_path / "images")
    first = predict(images, tmp_path / "out", model=bundle)["cases"][0]
    assert predict(images, tmp_path / "out", model=bundle)["cases"][0] == first
    config = spleen()
    config["inferer"]["overlap"] = 0.25
    write_config(bundle, config)
    again = predict(images, tmp_path / "out", model=bundle)["cases"][0]
    assert again["seconds"] != first["seconds"]


@pytest.mark.parametrize(
    "given", [{"max_memory_gb": 2.0}, {"overlap": 0.5}, {"tta": "flips"}, {"compile": True},
              {"precision": "bfloat16"}, {"extras": ("probabilities",)}],
)  # fmt: skip
def test_options_that_the_bundle_decides_are_refused(given, tmp_path):
    bundle, images = write(tmp_path / "bundle"), write_images(tmp_path / "images")
    with pytest.raises(UsageError, match=r"^--"):
        predict(images, tmp_path / "out", model=bundle, settings=PredictSettings(**given))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_trusted_bundle_runs_what_it_brings_and_says_so(tmp_path, capsys):
    bundle, images = write(tmp_path / "bundle"), write_images(tmp_path / "images")
    (images / "pir.nii.gz").unlink()
    predict(images, tmp_path / "checked", model=bundle)
    config = spleen()
    lambdas = {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x + 0"}
    config["preprocessing"]["transforms"].insert(2, lambdas)
    write_config(bundle, config)
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(bundle)]
    assert run([*command, "--no-progress"]) == 6
    assert "Lambdad" in capsys.readouterr().err
    assert run([*command, "--no-progress", "--trust"]) == 0
    assert "with all your rights" in capsys.readouterr().err
    one, other = (nib.load(tmp_path / name / "lps.nii.gz") for name in ("checked", "out"))
    assert (np.asarray(one.dataobj) == np.asarray(other.dataobj)).mean() >= 0.9999


def test_a_zip_is_refused_with_what_to_do(tmp_path, capsys):
    images = write_images(tmp_path / "images")
    (tmp_path / "b.zip").write_bytes(b"PK")
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m"]
    assert run([*command, str(tmp_path / "b.zip"), "--no-progress"]) == 6
    assert "unzip" in capsys.readouterr().err
