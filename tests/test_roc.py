"""The verb on a model whose scores are known: brightness itself, one weight of one pixel."""

import csv
import json

import numpy as np
import pytest
import torch
from astropy.io import fits

import medseg
from medseg import cli
from medseg.case import Case, write_cases
from medseg.datasets import decam, starfield
from medseg.errors import InputError, ModelError, UsageError
from medseg.inference.exposures import predict_exposure, score_exposure
from medseg.inference.predict import PredictSettings
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.sky import normalise
from medseg.metrics import tpr_at_fpr
from medseg.model import ModelSpec, read_model, write_model
from medseg.volumes import read_volume
from medseg.volumes.exposure import exposure_of
from pipelines import roc as script
from tests.shared import SHARED, needs_shared


def brightness(folder, threshold=0.6, preprocessing=None, labels=None):
    """A model that scores a pixel by its normalised brightness above a threshold."""
    network = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.constant_(network.weight, 1.0)
    torch.nn.init.constant_(network.bias, -threshold)
    spec = ModelSpec(
        {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1},
        labels or {"cosmic ray": 1},
        preprocessing or Preprocessing(sky=(-10, 10_000)),
        SliceGeometry((32, 32), zoom=1.0),
    )
    write_model(folder, spec, network, {})
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roc")
    starfield.write(folder / "data", counts={"train": 1, "val": 1, "test": 3}, size=80)
    write_cases(folder / "test.json", decam.cases(folder / "data", split="test"))
    brightness(folder / "model")
    return folder


def exact(place, fpr, **convention):
    exposures = [exposure_of(case) for case in decam.cases(place / "data", split="test")]
    scores = np.stack([normalise(e.image, e.sky, e.noise) for e in exposures])
    label, ignore = (np.stack([getattr(e, name) for e in exposures]) for name in ("mask", "ignore"))
    return tpr_at_fpr(scores, label, fpr, ignore=ignore, **convention)


def test_a_whole_exposure_is_scored_pixel_by_pixel_whatever_its_size(place):
    model = read_model(place / "model")
    for shape in ((80, 80), (20, 70), (33, 32), (10, 9)):
        case = decam.cases(place / "data", split="test")[0]
        exposure = exposure_of(case)
        part = tuple(slice(size) for size in shape)
        cut = type(exposure)(exposure.image[part], None, exposure.ignore[part], exposure.sky)
        expected = normalise(cut.image, cut.sky, cut.noise) - np.float32(0.6)
        np.testing.assert_allclose(score_exposure(model, cut), expected, atol=1e-5)


def test_the_figures_are_those_of_the_exact_curve(place, tmp_path):
    found = medseg.roc(place / "test.json", tmp_path / "roc", model=place / "model", fpr=0.01)
    conventions = {"ignored_left_out": False, "ignored_count_as_negative": True}
    for name, flag in conventions.items():
        wanted = exact(place, 0.01, ignored_count_as_negative=flag)
        bounds = found["tpr"][name]
        # scores are averaged over windows: the last bits may differ
        assert bounds["lower"] - 1e-3 <= wanted <= bounds["upper"] + 1e-3
    assert sum(found["counts"].values()) == 3 * 80 * 80
    assert json.loads((tmp_path / "roc" / "roc.json").read_text()) == found
    assert [case["status"] for case in found["cases"]] == ["done"] * 3
    with (tmp_path / "roc" / "roc.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) <= 1000
    assert (rows[0]["fpr"], rows[0]["tpr"]) == (0, 0)
    assert (rows[-1]["fpr"], rows[-1]["tpr"]) == (1, 1)
    assert (tmp_path / "roc" / "roc.png").read_bytes().startswith(b"\x89PNG")


def test_script_verb_and_function_agree(place, tmp_path, capsys):
    cases, model = str(place / "test.json"), str(place / "model")
    script.main([cases, model, str(tmp_path / "script"), "--fpr", "0.01"])
    capsys.readouterr()
    command = ["roc", "-i", cases, "-m", model, "-o", str(tmp_path / "verb"), "--fpr", "0.01"]
    assert cli.run([*command, "--json", "--no-progress"]) == 0
    by_verb = json.loads(capsys.readouterr().out)
    by_script = json.loads((tmp_path / "script" / "roc.json").read_text())
    assert by_verb["tpr"] == by_script["tpr"]
    assert by_verb["counts"] == by_script["counts"]
    assert cli.run([*command, "--no-progress"]) == 0
    assert "TPR at FPR 0.01" in capsys.readouterr().err


def test_one_bad_exposure_does_not_stop_the_others(place, tmp_path, capsys):
    good = decam.cases(place / "data", split="test")
    np.save(tmp_path / "bare.npy", np.zeros((40, 40), np.float32))
    (tmp_path / "damaged.npy").write_bytes(b"nothing")
    bad = [Case(name, tmp_path / f"{name}.npy") for name in ("bare", "damaged")]
    write_cases(tmp_path / "cases.json", [bad[0], *good, bad[1]])
    command = ["roc", "-i", str(tmp_path / "cases.json"), "-m", str(place / "model")]
    assert cli.run([*command, "-o", str(tmp_path / "roc"), "--no-progress"]) == 4
    said = capsys.readouterr().err
    assert "failed: bare" in said
    assert "with a mask" in said
    found = json.loads((tmp_path / "roc" / "roc.json").read_text())
    assert [case["status"] for case in found["cases"]] == ["failed", *["done"] * 3, "failed"]
    alone = medseg.roc(place / "test.json", tmp_path / "alone", model=place / "model")
    assert found["tpr"] == alone["tpr"]


def test_a_folder_is_scored_and_without_any_hit_there_is_no_figure(place, tmp_path):
    planes = np.zeros((2, 40, 40), np.float32)
    planes[0] = np.random.default_rng(0).normal(size=(40, 40))
    np.save(tmp_path / "a.npy", planes)
    found = medseg.roc(tmp_path, tmp_path / "roc", model=place / "model")
    assert found["tpr"]["ignored_left_out"] == {"lower": None, "upper": None}
    assert found["counts"] == {"positive": 0, "negative": 1600, "ignored": 0}


def test_what_does_not_fit_is_refused(place, tmp_path):
    window = brightness(tmp_path / "window", preprocessing=Preprocessing(window=(0, 1)))
    with pytest.raises(ModelError, match="a model for exposures"):
        medseg.roc(place / "test.json", tmp_path / "roc", model=window)
    with pytest.raises(UsageError, match=r"0\.\.1, got 2"):
        medseg.roc(place / "test.json", tmp_path / "roc", model=place / "model", fpr=2)
    np.save(tmp_path / "bare.npy", np.zeros((40, 40), np.float32))
    with pytest.raises(InputError, match="with a mask"):
        medseg.roc(tmp_path / "bare.npy", tmp_path / "roc", model=place / "model")


def test_the_mask_of_a_fits_exposure_is_fits_on_its_own_pixels(place, tmp_path):
    image = np.random.default_rng(0).normal(100, 5, (40, 50)).astype(np.float32)
    image[7, 30:45] = 5000
    image[0, 0] = np.nan
    fits.ImageHDU(image).writeto(tmp_path / "a.fits")
    model = brightness(tmp_path / "model", labels={"cosmic ray": 5})
    done = medseg.predict(tmp_path / "a.fits", tmp_path / "out", model=model)
    assert done["cases"][0]["prediction"] == "a.fits"
    mask = read_volume(tmp_path / "out" / "a.fits").array
    expected = np.zeros((40, 50, 1))
    expected[7, 30:45] = 5
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tta": "flips"}, "flips"),
        ({"max_memory_gb": 4.0}, "--max-memory"),
        ({"compile": True}, "compile"),
    ],
)
def test_what_is_not_done_for_exposures_is_refused(place, tmp_path, more, said):
    fits.ImageHDU(np.zeros((40, 50), np.float32)).writeto(tmp_path / "a.fits")
    settings = PredictSettings(device="cpu", **more)
    with pytest.raises(UsageError, match=said):
        medseg.predict(
            tmp_path / "a.fits", tmp_path / "out", model=place / "model", settings=settings
        )
    assert not (tmp_path / "out").exists()


def test_an_array_file_is_predicted_as_an_exposure_not_as_slices(place):
    case = decam.cases(place / "data", split="test")[0]
    mask = predict_exposure(read_model(place / "model"), case)
    assert mask.array.shape == (80, 80, 1)
    exposure = exposure_of(case)
    bright = normalise(exposure.image, exposure.sky, exposure.noise) > 0.6
    np.testing.assert_array_equal(mask.array[..., 0], bright)
    other = brightness(place / "other", labels={"cosmic ray": 300})
    wide = predict_exposure(read_model(other), case)
    np.testing.assert_array_equal(wide.array[..., 0], bright * 300)


@needs_shared
def test_real_exposures_are_scored(place, tmp_path):
    found = medseg.roc(SHARED / "data" / "decam", tmp_path / "roc", model=place / "model")
    assert [case["status"] for case in found["cases"]] == ["done"] * 12
    assert 0 < found["counts"]["positive"] <= 65 + 177
