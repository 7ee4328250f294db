import json
import shutil
import subprocess
import sys

import pytest
import yaml

import medseg
from medseg import cli
from medseg.config import load_config
from medseg.datasets import phantom
from medseg.errors import ResourceError, UsageError
from medseg.files import read_json, write_json
from medseg.plan.trial import Trial
from pipelines import plan as script


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    phantom.write(folder, counts={"train": 3, "val": 1, "test": 1}, size=(40, 40, 20))
    return folder


@pytest.mark.parametrize("network", ["transunet_3d", "unet_3d", "transunet", "unet"])
def test_every_network_gets_a_config_that_loads_and_says_why(data, tmp_path, network):
    path = tmp_path / "mine.yaml"
    found = medseg.plan(data, path, network=network, memory=3, check=False, device="cpu")
    content = yaml.safe_load(path.read_text())
    assert content == found["content"]
    assert load_config(path)["labels"] == found["content"]["labels"]
    assert read_json(tmp_path / "mine.fingerprint.json") == found["fingerprint"]
    for key, why in found["reasons"].items():
        assert f"# {' '.join(why.split())}" in path.read_text(), key
    assert found["memory"]["estimate_gb"] <= found["memory"]["limit_gb"] == 3
    dims = 3 if network.endswith("3d") else 2
    assert found["dims"]["value"] == dims
    assert content["train_loader"]["batch_size"] >= 2
    assert content["train_loader"]["augment"]["flip_axes"] == []  # there are two kidneys
    assert content["preprocessing"]["window"] == [-125, 275]


def test_more_memory_gives_a_larger_patch_until_the_median_volume_is_in(data):
    def patch(memory):
        found = medseg.plan(data, memory=memory, check=False, device="cpu")
        return found["content"]["geometry"]["patch_size"]

    small, large = patch(0.83), patch(8)
    assert all(a <= b for a, b in zip(small, large, strict=True))
    assert small < large == [40, 40, 20]  # the thick axis is halved but twice


def test_too_little_memory_says_how_much_would_do(data):
    with pytest.raises(ResourceError, match=r"needs about 0\.[89] GB for the smallest") as error:
        medseg.plan(data, memory=0.7, check=False, device="cpu")
    enough = float(str(error.value).split("about ")[1].split()[0])
    assert medseg.plan(data, memory=enough, check=False, device="cpu")["config"] is None


def test_a_trial_above_the_limit_makes_the_input_smaller(data, monkeypatch):
    tried = []

    def trial(content):
        tried.append(content["geometry"]["patch_size"].value)
        return Trial(3e9 if len(tried) < 3 else 2e9, 1.0)

    monkeypatch.setattr(sys.modules["medseg.plan.plan"], "_try", trial)
    found = medseg.plan(data, memory=2.5, check=True, device="cpu")
    assert tried[0] > tried[-1] == found["content"]["geometry"]["patch_size"]
    assert found["memory"]["measured_gb"] == 2.0
    assert found["hours"] > 0


def test_organs_can_be_chosen_by_name_or_value(data, tmp_path):
    found = medseg.plan(data, memory=2, labels=["liver", "spleen"], check=False, device="cpu")
    assert found["content"]["labels"] == {"liver": 5, "spleen": 1}
    assert found["content"]["network"]["num_classes"] == 3
    with pytest.raises(UsageError, match="no organ heart; there are spleen"):
        medseg.plan(data, labels="heart")


def test_a_plain_folder_needs_the_values_of_its_organs(data, tmp_path, capsys):
    plain = tmp_path / "plain"
    shutil.copytree(data / "images", plain / "images")
    shutil.copytree(data / "labels", plain / "labels")
    command = ["plan", str(plain), "-o", str(tmp_path / "a.yaml"), "--no-check", "--memory", "2"]
    assert cli.run([*command, "--no-progress"]) == 3
    assert 'such as --labels "liver=1,spleen=2"' in capsys.readouterr().err
    write_json(plain / "labels.json", phantom.LABELS)
    assert cli.run([*command, "--labels", "liver", "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["content"]["labels"] == {"liver": 5}
    assert found["content"]["cases"]["train"]["_target_"] == "medseg.datasets.folder.cases"
    assert load_config(tmp_path / "a.yaml").get_parsed_content("cases::train")


def test_mistakes_are_one_line_with_the_exit_code_that_fits(data, tmp_path, capsys):
    there = tmp_path / "there.yaml"
    there.write_text("seed: 0\n")
    out = ["-o", str(tmp_path / "new.yaml"), "--no-progress"]
    for arguments, code in (
        ([str(tmp_path / "nowhere"), *out], 3),
        ([str(tmp_path), *out], 3),
        ([str(data), "-o", str(there)], 2),
        ([str(data), "-o", str(tmp_path / "folder")], 2),
        ([str(data), *out, "--network", "unetr"], 2),
        ([str(data), *out, "--network", "unet", "--dims", "3"], 2),
        ([str(data), *out, "--memory", "-1"], 2),
        ([str(data), *out, "--memory", "0.1", "--workers", "1", "--device", "cpu"], 5),
    ):
        assert cli.run(["plan", *arguments]) == code
        assert capsys.readouterr().err.strip().count("\n") == 0
    assert not (tmp_path / "new.yaml").exists()


def test_people_get_a_table_and_the_script_its_reasons(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["medseg.plan.plan"], "QUICK_FLOPS", 0)  # no trial
    path = tmp_path / "mine.yaml"
    command = ["plan", str(data), "-o", str(path), "--memory", "2", "--no-check", "--workers", "1"]
    assert cli.run([*command, "--no-progress"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2 GB allowed" in shown.err
    assert f"medseg train {path}" in shown.err
    script.main([str(data), str(tmp_path / "other.yaml"), "--memory", "2", "--network", "unet"])
    assert "image_size: holds the largest slice" in capsys.readouterr().out


TRAIN = """
import sys
from medseg.config import train
from medseg.plan.trial import peak
changes = ["settings::max_epochs=1", "train_loader::batches_per_epoch=2"]
train(sys.argv[1], [*changes, f"out_dir={sys.argv[2]}"], workers=1)
sys.exit(peak() > float(sys.argv[3]) * 1e9)
"""


@pytest.mark.slow
@pytest.mark.parametrize("network", ["transunet_3d", "transunet"])
def test_a_planned_config_trains_within_the_stated_memory(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    phantom.write(tmp_path / "data", counts={"train": 3, "val": 1, "test": 1})
    path = tmp_path / "mine.yaml"
    found = medseg.plan(
        tmp_path / "data", path, network=network, memory=1.5, check=True, device="cpu"
    )
    assert found["memory"]["measured_gb"] <= 1.5
    command = [sys.executable, "-c", TRAIN, str(path), str(tmp_path / "run"), "1.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
