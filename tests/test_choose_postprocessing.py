"""Post-processing chosen on cases whose fault is known: a false piece beside the organ."""

import json

import numpy as np
import pytest

import medseg
from medseg import cli
from medseg.case import Case, write_cases
from medseg.errors import InputError, UsageError
from medseg.files import read_json
from medseg.inference.predict import PredictSettings
from medseg.volumes import Volume, write_volume
from pipelines import choose_postprocessing as script
from tests.inference.small import write_threshold_model

SETTINGS = PredictSettings(device="cpu", precision="float32")


@pytest.fixture
def run(tmp_path):
    """A run folder whose model also finds a bright speck of 8 voxels, which is no bone."""
    folder = tmp_path / "run"
    write_threshold_model(folder / "model")
    image = np.zeros((12, 12, 4), np.int16)
    image[2:8, 2:8, 1:3] = 250
    label = (image > 0).astype(np.uint8) * 3
    image[10:12, 10:12, 0:2] = 250
    cases = []
    for name in ("a", "b"):
        paths = [tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_label.nii.gz"]
        for path, array in zip(paths, (image, label), strict=True):
            write_volume(path, Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])))
        cases.append(Case(name, paths[0], paths[1], {"bone": 3}))
    write_cases(folder / "cases" / "val.json", cases[:1])
    write_cases(folder / "cases" / "test.json", cases[1:])
    return folder


def test_what_helps_the_validation_cases_goes_onto_the_card(run):
    found = medseg.choose_postprocessing(run, settings=SETTINGS)
    bone = found["organs"]["bone"]
    assert bone["step"] == {"keep_largest": 1}
    assert bone["dsc_before"] == pytest.approx(2 * 72 / (72 + 80))
    assert (bone["dsc_after"], bone["cases"]) == (1.0, 1)
    assert read_json(run / "model" / "model.json")["inference"]["postprocessing"] == {
        "bone": {"keep_largest": 1}
    }
    again = medseg.choose_postprocessing(run, settings=SETTINGS)
    assert again["organs"] == found["organs"], "what the card says now must not count"


def test_test_cases_are_refused_and_nothing_is_written(run):
    before = (run / "model" / "model.json").read_bytes()
    with pytest.raises(UsageError, match=r"b: one of .*test\.json"):
        medseg.choose_postprocessing(run, run / "cases" / "test.json", settings=SETTINGS)
    assert (run / "model" / "model.json").read_bytes() == before


def test_cases_without_labels_are_refused(run):
    write_cases(run / "cases" / "val.json", [Case("a", run.parent / "a.nii.gz")])
    with pytest.raises(InputError, match="labels of bone"):
        medseg.choose_postprocessing(run, settings=SETTINGS)
    named = Case("a", run.parent / "a.nii.gz", labels={"bone": 3})
    write_cases(run / "cases" / "val.json", [named])
    with pytest.raises(InputError, match="a label map"):
        medseg.choose_postprocessing(run, settings=SETTINGS)


def test_verb_and_script_say_the_same(run, capsys):
    assert cli.run(["choose-postprocessing", "-m", str(run), "--json", "--device", "cpu"]) == 0
    verb = json.loads(capsys.readouterr().out)
    script.main([str(run)])
    assert "keep_largest" in capsys.readouterr().out
    assert verb["organs"]["bone"]["dsc_after"] == 1.0
    assert cli.run(["choose-postprocessing", "-m", str(run), "--device", "cpu"]) == 0
    assert "keep_largest 1" in capsys.readouterr().err
    assert cli.run(["choose-postprocessing", "-m", str(run / "model"), "--device", "cpu"]) == 2
