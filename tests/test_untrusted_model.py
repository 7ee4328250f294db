"""A model folder made to do harm runs nothing, and ends with exit code 6."""

import hashlib
import json
import os
import pickle
import time

import pytest
import torch
from safetensors.torch import save_file

from medseg import cli
from medseg.errors import ModelError
from medseg.model import read_model
from tests.inference.small import write_images, write_threshold_model

CONV = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}


class Harm:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def model(tmp_path):
    return write_threshold_model(tmp_path / "model")


def change_card(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def put_weights(folder, content):
    """Replace the weights, and let the card vouch for them."""
    (folder / "weights.safetensors").write_bytes(content)
    change_card(folder, weights_sha256=hashlib.sha256(content).hexdigest())


def card(**changes):
    return lambda folder, _: change_card(folder, **changes)


def network(**changes):
    return card(network=CONV | changes)


def code(text):
    """Arguments that are code to MONAI's parser, each where a network takes one."""
    return lambda folder, mark: change_card(folder, network=CONV | {"bias": text.format(mark=mark)})


def _pickle(folder, mark):
    put_weights(folder, pickle.dumps({"weight": Harm(mark)}))


def _torch_pickle(folder, mark):
    torch.save({"weight": Harm(mark)}, folder / "raw")
    put_weights(folder, (folder / "raw").read_bytes())


def _pickle_beside(folder, mark):
    """Weights of another name are not looked for."""
    (folder / "weights.safetensors").unlink()
    for name in ("weights.pt", "weights.pth", "pytorch_model.bin", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Harm(mark)))


def _other_hash(folder, mark):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")


def _weights_elsewhere(folder, mark):
    weights = folder / "weights.safetensors"
    weights.rename(folder.parent / "elsewhere.safetensors")
    weights.symlink_to(folder.parent / "elsewhere.safetensors")


def _card_elsewhere(folder, mark):
    (folder / "model.json").rename(folder.parent / "elsewhere.json")
    (folder / "model.json").symlink_to("../elsewhere.json")


def _huge_card(folder, mark):
    with (folder / "model.json").open("a") as file:
        file.write(" " * (20 << 20))


def _deep_card(folder, mark):
    (folder / "model.json").write_text("[" * 200_000)


def _header_of_gigabytes(folder, mark):
    put_weights(folder, (1 << 40).to_bytes(8, "little") + b"{}")


def _tensor_of_terabytes(folder, mark):
    end = 4 << 40
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, end]}})
    put_weights(folder, len(header).to_bytes(8, "little") + header.encode())


def _more_tensors(folder, mark):
    save_file({"weight": torch.zeros(2, 1, 1, 1), "bias": torch.zeros(2), "x": torch.zeros(1)},
              folder / "raw")  # fmt: skip
    put_weights(folder, (folder / "raw").read_bytes())


def only(**arguments):
    return card(network=arguments)


HARM = {
    "pickled weights": _pickle,
    "PyTorch's pickle": _torch_pickle,
    "pickle of another name": _pickle_beside,
    "another hash": _other_hash,
    "os.system": network(_target_="os.system"),
    "builtins.exec": network(_target_="builtins.exec"),
    "a module's own import": network(_target_="torch.nn.functional.os.system"),
    "climbing target": network(_target_="torch.nn...os.system"),
    "path as target": network(_target_="../../harm.Network"),
    "path in the target": network(_target_="torch.nn./tmp/harm.Network"),
    "function": network(_target_="torch.nn.functional.conv2d"),
    "target that is no text": network(_target_=["os.system"]),
    "expression": code("$__import__('os').system('touch {mark}')"),
    "reference": code("@network"),
    "macro": code("%model.json"),
    "nested target": network(bias={"_target_": "os.system", "command": "true"}),
    "path as argument": network(padding_mode="/etc/passwd"),
    "address as argument": network(padding_mode="https://example.org/weights.pt"),
    "weights from elsewhere": only(
        _target_="monai.networks.nets.EfficientNetBN", model_name="efficientnet-b0",
        pretrained=True,
    ),
    "linked weights": _weights_elsewhere,
    "linked card": _card_elsewhere,
    "huge card": _huge_card,
    "deep card": _deep_card,
    "header of gigabytes": _header_of_gigabytes,
    "tensor of terabytes": _tensor_of_terabytes,
    "unknown tensor": _more_tensors,
    "absurd width": network(out_channels=10**12),
    "overflowing width": network(out_channels=10**30),
    "negative width": network(out_channels=-1),
    "wide enough to hurt": only(_target_="torch.nn.Linear", in_features=10**4, out_features=10**5),
    "layers without end": only(
        _target_="medseg.networks.vit.ViT", image_size=32, num_layers=10**9, hidden_size=12,
        num_heads=2, mlp_dim=4,
    ),
    "absurd image": only(_target_="medseg.networks.vit.ViT", image_size=10**6),
    "labels of text": card(labels={"liver": "$1"}),
    "labels of a list": card(labels=["../../x"]),
    "unknown preprocessing": card(preprocessing={"_target_": "os.system"}),
    "no object": lambda folder, _: (folder / "model.json").write_text("[]"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_a_model_made_to_do_harm_is_refused_at_once(harm, model, tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    HARM[harm](model, mark)
    called = []
    monkeypatch.setattr(os, "system", called.append)
    start = time.monotonic()
    with pytest.raises(ModelError) as refused:
        read_model(model)
    assert time.monotonic() - start < 10
    assert "\n" not in str(refused.value)
    assert not mark.exists()
    assert not called


@pytest.mark.parametrize(
    "harm", ["pickled weights", "os.system", "expression", "another hash", "linked weights"]
)
def test_prediction_with_it_ends_with_six_and_writes_nothing(harm, model, tmp_path, capsys):
    images = write_images(tmp_path / "images", 1)
    HARM[harm](model, tmp_path / "mark")
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.run([*command, "--no-progress"]) == 6
    said = capsys.readouterr().err
    assert said.startswith("medseg: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "mark").exists()


def test_a_model_that_changes_during_a_job_stops_it(model, tmp_path, capsys):
    from medseg.inference.predict import predict

    images = write_images(tmp_path / "images", 1)
    predict(images, tmp_path / "out", model=model)
    _other_hash(model, None)
    write_images(images, 2)
    with pytest.raises(ModelError, match="SHA-256"):
        predict(images, tmp_path / "out", model=model)


def test_a_folder_reached_by_a_link_is_read(model, tmp_path):
    (tmp_path / "latest").symlink_to(model)
    assert read_model(tmp_path / "latest").spec.labels == {"bone": 7}
