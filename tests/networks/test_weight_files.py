import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medseg.errors import ModelError
from medseg.files import sha256, write_json
from medseg.networks.weight_files import find_weights, read_weights

STATE = {"weight": torch.arange(600.0).reshape(30, 20), "bias": torch.ones(3)}


class Malicious:
    def __reduce__(self):
        return exec, ("open('was_here', 'w').write('x')",)


def _torch(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _zip_with(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"<!DOCTYPE html><html>Too many requests</html>", "got a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"just words", "got something else"),
        (_torch({"w": Malicious()}), "wants to call code"),
        (pickle.dumps(Malicious()), "wants to call code"),
        (_npz(w=np.array([Malicious()], dtype=object)), "damaged|code"),
        (_torch(STATE)[:1500], "damaged"),
        (_npz(w=np.arange(999.0))[:4000], "damaged"),
        (_flipped(_torch(STATE)), "damaged"),
        (_flipped(_npz(w=np.arange(999.0))), "damaged"),
        (_zip_with("a.txt", "words"), "damaged"),
        ((1000).to_bytes(8, "little") + b"{}", "damaged"),
        (_torch([torch.ones(2)]), "named weights, got list"),
        (_torch({"epoch": 3}), "named weights, got none"),
        (_torch({"w": torch.tensor([1.0, float("nan")])}), "NaN or infinity in w"),
    ],
    ids=[
        "empty", "html", "lfs", "text", "code", "old pickle", "object array", "cut", "cut npz",
        "flipped", "flipped npz", "zip", "safetensors", "list", "no weights", "nan",
    ],
)  # fmt: skip
def test_what_is_no_file_of_weights_is_refused_in_one_line_and_never_run(
    tmp_path, monkeypatch, content, message
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=message) as info:
        read_weights(file)
    assert str(info.value).startswith(str(file))
    assert "\n" not in str(info.value)
    assert not (tmp_path / "was_here").exists()


def test_a_missing_file_is_said():
    with pytest.raises(ModelError, match=r"nowhere\.pth: expected a file of weights, got no such"):
        read_weights("nowhere.pth")


def test_a_model_folder_and_a_run_folder_are_taken_for_the_weights_in_them(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelError, match="got a folder"):
        find_weights(folder)
    save_file(STATE, folder / "weights.safetensors")
    digest = sha256(folder / "weights.safetensors")
    card = {"network": {"image_size": [64, 32]}, "weights_sha256": digest}
    write_json(folder / "model.json", card)
    for path in (folder, tmp_path, folder / "weights.safetensors"):
        found = read_weights(path)
        assert found.path == folder / "weights.safetensors"
        assert found.image_size == (64, 32)
        assert torch.equal(found.tensors["weight"], STATE["weight"])
    (folder / "model.json").write_text(json.dumps(card | {"weights_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="expected SHA-256 000000000000…"):
        read_weights(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="expected a model card"):
        read_weights(folder)


def test_half_precision_is_read(tmp_path):
    torch.save({"w": torch.ones(3, dtype=torch.float16)}, tmp_path / "a")
    assert read_weights(tmp_path / "a").tensors["w"].dtype == torch.float16
