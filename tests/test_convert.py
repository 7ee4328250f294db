import json

import pytest
import torch
from safetensors.torch import load_file

import medseg
from medseg import cli
from medseg.config import build_network, load_config
from medseg.datasets import phantom
from medseg.errors import ModelError, UsageError
from medseg.files import read_json
from medseg.model import read_model
from medseg.volumes import read_volume
from tests.networks.published import google_arrays, original_state, save, save_npz

TINY = [
    "image_size=[32,48]", "network::hidden_size=24", "network::num_layers=1",
    "network::width_factor=0.125", "network::decoder_channels=[16,16,8,8,8]",
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    network, _ = build_network(load_config("phantom_transunet", TINY))
    save(folder / "original.pth", original_state(network))
    save_npz(folder / "google.npz", google_arrays(network))
    return folder


def convert(*arguments):
    return cli.run(["convert-weights", "--model", "phantom_transunet", *map(str, arguments)])


def test_a_model_folder_predicts_with_the_organs_and_the_preprocessing_of_the_config(
    files, tmp_path, capsys
):
    model = tmp_path / "model"
    assert convert(files / "original.pth", "-o", model, *TINY) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "original.pth" in said
    assert "Written: " in said
    loaded = read_model(model)
    assert dict(loaded.spec.labels) == phantom.LABELS
    assert loaded.spec.preprocessing.window == (-125, 275)
    origin = loaded.provenance["pretrained"]
    assert origin["files"][0]["name"] == "original.pth"
    assert (origin["left"], origin["unused"]) == (0, 0)
    phantom.write(tmp_path / "data", counts={"test": 1}, size=(32, 32, 8))
    [case] = phantom.cases(tmp_path / "data", split="test")
    done = medseg.predict(case.image, tmp_path / "out", model=model)
    label_map = read_volume(tmp_path / "out" / done["cases"][0]["prediction"])
    assert label_map.array.shape == (32, 32, 8)


def test_json_holds_the_whole_report_and_the_file_our_names(files, tmp_path, capsys):
    out = tmp_path / "start.safetensors"
    assert convert(files / "google.npz", "-o", out, *TINY, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["output"] == str(out)
    state = load_file(out)
    assert {*report["used"], *report["left"]} == set(state)
    assert report["used"]["encoder.norm.weight"] == "Transformer/encoder_norm/scale"
    assert set(report["resized"]) == {"encoder.pos_embed"}


def test_the_same_files_give_the_same_weights_even_where_they_leave_some_open(files, tmp_path):
    outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    states = []
    for out in outs:
        medseg.convert_weights(files / "google.npz", out, model="phantom_transunet", overrides=TINY)
        states.append(load_file(out))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_is_there_is_replaced_only_on_request(files, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    assert convert(files / "original.pth", "-o", out, *TINY) == 0
    assert convert(files / "original.pth", "-o", out, *TINY) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert convert(files / "original.pth", "-o", out, *TINY, "--overwrite") == 0


def test_our_own_model_goes_on_with_other_organs(files, tmp_path):
    model, other = tmp_path / "model", tmp_path / "other"
    assert convert(files / "original.pth", "-o", model, *TINY) == 0
    fewer = ['labels={"liver":5,"spleen":1}', "network::num_classes=3"]
    changes = [*TINY, *fewer, "image_size=[64,96]"]
    report = medseg.convert_weights(model, other, model="phantom_transunet", overrides=changes)
    assert set(report["left"]) == {"head.weight", "head.bias"}
    assert report["resized"] == {"encoder.pos_embed": "grid 2×3 → 4×6"}
    assert list(read_model(other).spec.labels) == ["liver", "spleen"]


def test_errors_are_one_line_with_their_exit_code(files, tmp_path, capsys):
    (tmp_path / "bad.pth").write_text("<html>")
    wrong = [*TINY, "network::hidden_size=48"]
    for arguments, code, message in (
        ([tmp_path / "none.pth", "-o", "x", *TINY], 6, "no such file"),
        ([tmp_path / "bad.pth", "-o", tmp_path / "x", *TINY], 6, "web page"),
        ([files / "original.pth", "-o", tmp_path / "x", *wrong], 6, "expected shape"),
        ([files / "original.pth", "-o", tmp_path / "x.onnx", *TINY], 2, "a .safetensors file or"),
        ([files / "original.pth", "-o", tmp_path / "x", "network::x=3"], 2, "no key 'network::x'"),
        (["network::x=3", "-o", tmp_path / "x"], 2, "at least one file"),
    ):
        assert convert(*arguments) == code
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert message in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


def test_python_raises_what_the_command_says(files, tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        medseg.convert_weights("none.pth", tmp_path / "x", model="phantom_transunet")
    with pytest.raises(UsageError, match="no such file, and none shipped"):
        medseg.convert_weights(files / "original.pth", tmp_path / "x", model="none")


def test_the_files_that_a_config_starts_from_play_no_part(files, tmp_path):
    start = [f"network::pretrained={tmp_path / 'none.npz'}"]
    medseg.convert_weights(
        files / "original.pth", tmp_path / "m", model="phantom_transunet", overrides=[*TINY, *start]
    )
    assert "pretrained" not in read_json(tmp_path / "m" / "model.json")["network"]
