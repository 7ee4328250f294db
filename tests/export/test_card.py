"""What an export's card says of a model: measured results, pictures, and fields of people."""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from medseg.cli import run
from medseg.errors import InputError
from medseg.export.about import read_about
from medseg.export.bundle import write_bundle
from medseg.export.cases import made_up_cases
from medseg.export.export import export
from medseg.export.results import eval_metrics, results_of, said_of
from medseg.model import read_model
from tests.export.models import LABELS, SPECS, write


def organ(dsc, hd95, counts, scored=None):
    statuses = dict(zip(("scored", "missed", "false_positive", "absent"), counts, strict=True))
    return {
        "counts": statuses,
        "dsc": {"mean": dsc},
        "hd95": {"mean": hd95, "mean_scored": hd95 if scored is None else scored},
    }


@pytest.fixture
def results(tmp_path):
    """A table of three organs, worked out by hand."""
    case = {"case_id": "a", "prediction": "/secret/a.nii.gz", "organs": {}}
    content = {
        "version": "0.1.0",
        "labels": LABELS,
        "metrics": {
            "dsc": {"name": "DSC", "unit": "1", "better": "higher", "convention": "Dice"},
            "hd95": {
                "name": "HD95 (pooled)", "unit": "mm", "better": "lower", "convention": "as MedPy",
            },
        },
        "cases": [],
        "failures": [{"case_id": "z", "error": "no such file"}],
        "summary": {
            "organs": {
                "liver": organ(0.95, 4.0, (3, 0, 0, 0)),
                "spleen": organ(0.6, 120.5, (2, 1, 0, 0), scored=5.25),
                "aorta": {
                    "counts": {"scored": 0, "missed": 0, "false_positive": 0, "absent": 3},
                    "dsc": {"mean": None},
                    "hd95": {"mean": None, "mean_scored": None},
                },
            },
            "mean": {"dsc": 0.775, "hd95": 62.25, "hd95_scored": 4.625},
        },
    }  # fmt: skip
    for case_id in "abc":
        found = {name: {"status": "absent", "dsc": None, "hd95": None} for name in LABELS}
        content["cases"].append({**case, "case_id": case_id, "organs": found})
    path = tmp_path / "results" / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(write(tmp_path_factory.mktemp("model"), "U-Net"))


def test_the_table_has_every_organ_with_its_coverage_and_the_conventions(results, model):
    said = said_of(model, results_of(results.parent, LABELS)).splitlines()
    assert said[0] == "Means over 3 cases (1 more failed), measured by `medseg evaluate`:"
    assert "| liver | 0.9500 | 4.00 | 4.00 | 3 of 3 |" in said
    assert "| spleen | 0.6000 | 120.50 | 5.25 | 2 of 3, 1 missed |" in said
    assert "| aorta | – | – | – | 0 of 0 |" in said
    assert "| **mean over organs** | 0.7750 | 62.25 | 4.62 | |" in said
    assert said[-2:] == ["- DSC: Dice", "- HD95 (pooled) [mm]: as MedPy"]


def test_metadata_hold_the_same_numbers_and_name_the_convention(results, model):
    found = eval_metrics(model, results_of(results, LABELS))
    assert found["convention"] == "DSC: Dice; HD95 (pooled) [mm]: as MedPy"
    assert found["organs"]["spleen"] == {
        "dsc": 0.6, "hd95": 120.5, "scored": 2, "missed": 1, "false_positive": 0, "absent": 0,
    }  # fmt: skip
    assert found["mean_over_organs"] == {"dsc": 0.775, "hd95": 62.25}
    assert "secret" not in json.dumps(found)


def test_results_of_other_organs_are_refused(results):
    with pytest.raises(InputError, match=r"the model's organs \(ventricle\).*liver"):
        results_of(results, {"ventricle": 1})


def test_without_results_the_card_says_what_training_measured(model):
    assert "| liver | 0.5000 |" in said_of(model, None)
    assert eval_metrics(model, None)["liver"] == 0.5


def test_pictures_stand_on_the_card_with_their_captions(tmp_path, model):
    write_bundle(model, tmp_path, {}, pictures={"preview.png": "A case"})
    assert "![A case](preview.png)" in (tmp_path / "docs" / "README.md").read_text()


def test_fields_of_people_come_from_yaml_as_from_json(tmp_path):
    fields = {"authors": "A. Nybody", "references": ["one", "two"]}
    (tmp_path / "about.json").write_text(json.dumps(fields))
    (tmp_path / "about.yaml").write_text("authors: A. Nybody\nreferences:\n- one\n- two\n")
    assert read_about(tmp_path / "about.json") == read_about(tmp_path / "about.yaml") == fields
    (tmp_path / "about.yaml").write_text("copyright: 2026-01-31\n")
    with pytest.raises(InputError, match="quote dates"):
        read_about(tmp_path / "about.yaml")
    (tmp_path / "about.yml").write_text("authors: [a\n")
    with pytest.raises(InputError, match="valid YAML"):
        read_about(tmp_path / "about.yml")
    (tmp_path / "about.yml").write_text("- a\n")
    with pytest.raises(InputError, match="a mapping of fields"):
        read_about(tmp_path / "about.yml")


def test_the_card_asks_for_medseg_only_where_it_is_needed(tmp_path, model):
    other = read_model(write(tmp_path, "TransUNet"))
    for name, one in (("plain", model), ("ours", other)):
        write_bundle(one, tmp_path / name, {})
    plain, ours = ((tmp_path / n / "docs" / "README.md").read_text() for n in ("plain", "ours"))
    assert "source folder of medseg" in ours
    assert "source folder of medseg" not in plain
    assert "medseg==" not in ours  # it comes from its source, not from an index


@pytest.mark.slow
def test_a_run_folder_and_an_image_of_ones_own_give_a_card_with_pictures(tmp_path, results, capsys):
    pytest.importorskip("fire")
    write(tmp_path / "run", "U-Net")
    figures = tmp_path / "run" / "figures"
    figures.mkdir()
    (figures / "loss_train_val.png").write_bytes(b"a curve")
    image = made_up_cases(SPECS["U-Net"], tmp_path / "images")[7]
    command = ["export", str(tmp_path / "run"), "-i", str(image), "--results", str(results)]
    assert run([*command, "-o", str(tmp_path / "out"), "--picture"]) == 0
    assert "organ voxels, lowest DSC of an organ" in capsys.readouterr().err
    docs = tmp_path / "out" / "docs"
    card = (docs / "README.md").read_text()
    assert "| spleen | 0.6000 |" in card
    for name in ("preview.png", "loss_train_val.png"):
        assert f"]({name})" in card
    assert (docs / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert (docs / "loss_train_val.png").read_bytes() == b"a curve"
    assert "/secret" not in (tmp_path / "out" / "configs" / "metadata.json").read_text()


@pytest.mark.slow
def test_an_onnx_export_runs_in_an_environment_that_was_made_without_torch(tmp_path):
    pytest.importorskip("onnxruntime")
    export(write(tmp_path, "TransUNet"), tmp_path / "out", format="onnx")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    needed = (tmp_path / "out" / "requirements.txt").read_text().split()
    found = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--retries", "0", "--timeout", "10", *needed],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        pytest.skip(f"no package index: {found.stderr.strip().splitlines()[-1]}")
    there = "import importlib.util as u; print([bool(u.find_spec(m)) for m in ('torch', 'monai')])"
    said = subprocess.run([python, "-c", there], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[False, False]"
    shutil.move(tmp_path / "out", tmp_path / "handed on")
    handed = tmp_path / "handed on"
    images = sorted((handed / "proof" / "images").iterdir())
    subprocess.run([python, "run.py", *map(str, images), "-o", "found"], cwd=handed, check=True)
    same = []
    for image, wanted in zip(images, sorted((handed / "proof/labels").iterdir()), strict=True):
        pair = [nib.load(path).get_fdata() for path in (handed / "found" / image.name, wanted)]
        same.append((pair[0] == pair[1]).ravel())
    assert np.concatenate(same).mean() >= 0.9999
