import json

import pytest
import torch
from torch import nn

from medseg.errors import ModelError
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, build_network, read_model, write_model

NETWORK = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 3, "kernel_size": 1}


@pytest.fixture
def folder(tmp_path):
    spec = ModelSpec(
        network=NETWORK,
        labels={"liver": 6, "tumour": 500},
        preprocessing=Preprocessing(window=(-125, 275), spacing=(1.0, 1.0, None)),
        geometry=SliceGeometry(image_size=(32, 48), zoom=1.5, neighbours=1),
    )
    torch.manual_seed(0)
    write_model(tmp_path / "model", spec, nn.Conv2d(3, 3, 1), {"seed": 0})
    return tmp_path / "model"


def _change_card(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_returns_with_its_weights_and_all_it_needs_to_predict(folder):
    model = read_model(folder)
    torch.manual_seed(0)
    torch.testing.assert_close(model.network.weight, nn.Conv2d(3, 3, 1).weight, rtol=0, atol=0)
    assert model.spec.labels == {"liver": 6, "tumour": 500}
    assert model.spec.geometry == SliceGeometry((32, 48), zoom=1.5, neighbours=1)
    assert model.spec.preprocessing == Preprocessing(window=(-125, 275), spacing=(1, 1, None))
    assert model.provenance == {"seed": 0}
    assert not model.network.training


def test_the_folder_holds_a_card_and_weights_and_nothing_else(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_damaged_weights_are_noticed_by_their_hash(folder):
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        read_model(folder)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "medseg.files.write_text",
        "torch.nn.modules.module._wrap_hook",
        "torch.nn.functional.os",
        "torch.nn.init.warnings.warn",
        "torch.nn.Missing",
        "torch.nnx.Conv2d",
        "Conv2d",
        "",
    ],
)
def test_a_network_outside_the_trusted_packages_is_refused(folder, target):
    _change_card(folder, network=NETWORK | {"_target_": target})
    with pytest.raises(ModelError, match="network"):
        read_model(folder)


@pytest.mark.parametrize(
    "argument", ["$__import__('os')", "@network", {"_target_": "os.system"}, [["%x"]]]
)
def test_arguments_that_name_code_are_refused(argument):
    with pytest.raises(ModelError, match="plain arguments"):
        build_network(NETWORK | {"bias": argument})


def test_arguments_that_do_not_fit_are_said_with_the_network():
    with pytest.raises(ModelError, match=r"torch\.nn\.Conv2d.*no_such"):
        build_network(NETWORK | {"no_such": 1})


def test_weights_of_another_network_are_refused(folder):
    _change_card(folder, network=NETWORK | {"out_channels": 5})
    with pytest.raises(ModelError, match="size mismatch"):
        read_model(folder)


@pytest.mark.parametrize("change", [{"format": 99}, {"labels": 3}, {"slices": {"side": 3}}])
def test_a_card_that_does_not_fit_is_refused(folder, change):
    _change_card(folder, **change)
    with pytest.raises(ModelError, match=r"model\.json"):
        read_model(folder)


def test_a_missing_model_is_said_in_one_line(tmp_path, folder):
    with pytest.raises(ModelError, match="expected a model folder"):
        read_model(tmp_path / "nowhere")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="no such file"):
        read_model(folder)


def test_a_pickle_in_place_of_weights_is_not_read(folder):
    import hashlib

    torch.save(nn.Conv2d(3, 3, 1).state_dict(), folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    _change_card(folder, weights_sha256=digest)
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        read_model(folder)
