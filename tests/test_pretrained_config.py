"""``network::pretrained``: training starts from published weights, and the model card says so."""

import pytest
import torch
import yaml
from safetensors.torch import load_file

import medseg
from medseg import cli
from medseg.config import build_network, find_config, load_config, pretrained_of, save_config
from medseg.datasets import phantom
from medseg.errors import ModelError, UsageError
from medseg.files import read_json, sha256
from pipelines import train as script
from tests.networks.published import original_state, save

TINY = [
    "image_size=[32,32]", "network::hidden_size=24", "network::num_layers=1",
    "network::width_factor=0.125", "network::decoder_channels=[16,16,8,8,8]",
    "train_loader::batch_size=2", "train_loader::batches_per_epoch=2", "settings::max_epochs=1",
    "settings::device=cpu", "settings::precision=float32", "settings::ema_decay=null",
]  # fmt: skip
STILL = [*TINY, "optimizer::lr=0.0", "optimizer::weight_decay=0.0"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A tiny phantom and weights as the original publishes them."""
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    phantom.write(tmp_path / "data", counts={"train": 2, "val": 1, "test": 1}, size=(32, 32, 8))
    network, _ = build_network(load_config("phantom_transunet", TINY))
    save(tmp_path / "weights.pth", original_state(network))
    return tmp_path


def options(place, *more):
    return [f"data={place / 'data'}", f"network::pretrained={place / 'weights.pth'}", *more]


def test_script_and_verb_start_from_the_weights_and_the_card_names_the_file(place):
    runs = [place / "verb", place / "script"]
    changes = [*STILL, *options(place)]
    medseg.train("phantom_transunet", [*changes, f"out_dir={runs[0]}"])
    script.main(["phantom_transunet", *changes, f"out_dir={runs[1]}"])
    network, _ = build_network(load_config("phantom_transunet", changes))
    for run in runs:
        state = load_file(run / "model" / "weights.safetensors")
        for name, value in network.named_parameters():  # with a rate of zero they stay
            torch.testing.assert_close(state[name], value.detach(), rtol=0, atol=0)
        card = read_json(run / "model" / "model.json")
        origin = card["provenance"]["pretrained"]
        assert origin["files"] == [{"name": "weights.pth", "sha256": sha256(place / "weights.pth")}]
        assert origin["used"] == len(state)
        assert "pretrained" not in card["network"]
    saved = yaml.safe_load((runs[0] / "config.yaml").read_text())
    assert saved["network"]["pretrained"] == str(place / "weights.pth")


def test_a_resumed_run_does_without_the_file_and_still_names_it(place):
    run, changes = place / "run", [*TINY, *options(place)]
    medseg.train("phantom_transunet", [*changes, f"out_dir={run}"])
    origin = read_json(run / "model" / "model.json")["provenance"]["pretrained"]
    (place / "weights.pth").unlink()
    again = [f"out_dir={run}", "settings::max_epochs=2"]
    medseg.train(run / "config.yaml", again, resume=True)
    card = read_json(run / "model" / "model.json")
    assert card["provenance"]["iteration"] == 4
    assert card["provenance"]["pretrained"] == origin
    with pytest.raises(ModelError, match=r"weights\.pth: expected a file of weights"):
        medseg.train(run / "config.yaml", overwrite=True)
    assert (run / "model" / "model.json").exists()

    plain = [f"out_dir={run}", "network::pretrained=null"]
    medseg.train(run / "config.yaml", plain, overwrite=True)
    assert "pretrained" not in read_json(run / "model" / "model.json")["provenance"]
    assert not (run / "pretrained.json").exists()


@pytest.mark.parametrize("content", [None, "<html>"])
def test_a_missing_or_bad_file_is_said_in_one_line_before_any_data_is_prepared(
    place, content, capsys
):
    if content is None:
        (place / "weights.pth").unlink()
    else:
        (place / "weights.pth").write_text(content)
    run = place / "run"
    changes = [*TINY, *options(place, f"out_dir={run}")]
    assert cli.run(["train", "phantom_transunet", *changes, "--no-progress"]) == 6
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not run.exists()
    assert not (place / "store").exists()


def test_an_override_adds_the_key_and_a_saved_config_keeps_it(tmp_path):
    config = load_config("phantom_transunet", ['network::pretrained=["a.npz","b.npz"]'])
    assert "pretrained" not in config["network"]
    save_config(config, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml")
    assert again.get() == config.get()
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert content["network"]["pretrained"] == ["a.npz", "b.npz"]


def test_a_reference_is_followed_and_several_files_are_taken(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    config = load_config(
        "phantom_transunet", [f"data={tmp_path / 'a'}", "network::pretrained=@data"]
    )
    assert pretrained_of(config) == [tmp_path / "a"]
    both = f'network::pretrained=["{tmp_path / "a"}","{tmp_path / "b"}"]'
    assert pretrained_of(load_config("phantom_transunet", [both])) == [
        tmp_path / "a",
        tmp_path / "b",
    ]
    assert pretrained_of(load_config("phantom_transunet", ["network::pretrained=null"])) == []


@pytest.mark.parametrize("value", ["3", "[1, 2]", '""', '{"a": 1}'])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(UsageError, match="expected a path, a list of paths or null"):
        pretrained_of(load_config("phantom_transunet", [f"network::pretrained={value}"]))


def test_a_flag_of_that_name_stays_an_argument_of_the_class(tmp_path):
    content = yaml.safe_load(find_config("phantom_unet").read_text())
    content["network"] = {
        "_target_": "monai.networks.nets.FlexibleUNet", "in_channels": 3, "out_channels": 9,
        "backbone": "resnet18", "spatial_dims": 2, "pretrained": False,
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    config = load_config(tmp_path / "mine.yaml")
    assert config["network"]["pretrained"] is False
    assert pretrained_of(config) == []


def test_a_size_that_does_not_fit_the_network_is_said_in_its_words(capsys, tmp_path):
    command = ["info", "--model", "phantom_transunet", "network::num_heads=7"]
    assert cli.run(command) == 2
    assert "hidden_size must be a multiple of num_heads" in capsys.readouterr().err
