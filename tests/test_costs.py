import json

import pytest
import torch

import medseg
from medseg import cli
from medseg.config import build_network, load_config
from medseg.errors import UsageError
from medseg.loading.geometry import PatchGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, read_model, write_model
from medseg.model import build_network as build_plain


def test_a_config_gives_parameters_flops_memory_and_sizes():
    found = medseg.info("phantom_transunet")
    network, _ = build_network(load_config("phantom_transunet"))
    assert found["network"] == "medseg.networks.transunet.TransUNet"
    assert found["input"] == {"channels": 3, "size": [96, 96]}
    count = sum(p.numel() for p in network.parameters())
    assert found["parameters"]["total"] == found["parameters"]["trainable"] == count
    assert sum(found["parameters"]["parts"].values()) == count
    assert set(found["parameters"]["parts"]) == {"backbone", "encoder", "decoder", "head"}
    memory = found["bytes"]
    assert memory["gradients"] == 4 * count
    assert memory["optimizer"] == pytest.approx(8 * count, rel=0.01)  # AdamW
    assert found["batch_size"] == 16
    assert memory["activations"] > 15 * memory["activations_per_slice"]
    assert found["sizes"] == {"multiple": 1, "least": 1, "unequal": True}
    assert "multiply-add counts as 2" in found["notes"]["flops"]


def test_overrides_count(capsys):
    large = ["image_size=[192,192]", "train_loader::batch_size=2"]
    command = ["info", "--model", "phantom_unet", "--json"]
    assert cli.run(command) == 0
    small = json.loads(capsys.readouterr().out)
    assert cli.run([*command, *large]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["flops"] == 4 * small["flops"]
    assert found["batch_size"] == 2
    assert found["bytes"]["activations"] == pytest.approx(
        4 * small["bytes"]["activations"] / 8, rel=1e-3
    )


def test_people_get_a_table(capsys):
    assert cli.run(["info", "--model", "phantom_unet"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "any from 16 on" in shown.err
    assert "1,979,273" in shown.err
    assert "batch of 16" in shown.err


def test_a_model_folder_is_looked_into(tmp_path, capsys):
    torch.manual_seed(0)
    network, spec = build_network(load_config("phantom_unet"))
    write_model(tmp_path / "model", spec, network, {})
    for path in (tmp_path / "model", tmp_path):
        found = medseg.info(path)
        assert found["flops"] == 1_406_140_416
        assert "optimizer" not in found["bytes"]
    with pytest.raises(UsageError, match="takes no overrides"):
        medseg.info(tmp_path, ["seed=1"])
    assert cli.run(["info", "--model", str(tmp_path)]) == 0
    assert cli.run(["info", "--model", str(tmp_path / "model" / "none")]) == 2
    assert cli.run(["info", "seed=1"]) == 2
    capsys.readouterr()


def test_a_model_of_volumes_is_looked_into(tmp_path, capsys):
    network = {
        "_target_": "medseg.networks.transunet_3d.TransUNet3D", "image_size": [40, 56, 24],
        "num_classes": 3, "attention": "windowed", "widths": [4, 4, 8], "strides": [[2, 2, 1], 2],
        "hidden_size": 24, "mlp_dim": 24, "num_heads": 4, "num_layers": 1,
    }  # fmt: skip
    built = build_plain(network)
    spec = ModelSpec(
        network, {"a": 1, "b": 2}, Preprocessing(window=(0, 1)), PatchGeometry((40, 56, 24))
    )
    write_model(tmp_path, spec, built, {})
    found = medseg.info(tmp_path)
    assert found["input"] == {"channels": 1, "size": [40, 56, 24]}
    assert found["parameters"]["total"] == sum(p.numel() for p in built.parameters())
    assert cli.run(["info", "--model", str(tmp_path)]) == 0
    assert "GFLOP per patch" in capsys.readouterr().err
    again, volume = read_model(tmp_path).network, torch.randn(1, 1, 17, 30, 20)
    with torch.inference_mode():
        assert torch.equal(again(volume), built.eval()(volume))


def test_an_input_that_the_network_does_not_take_is_said():
    with pytest.raises(UsageError, match=r"an input of shape \(1, 3, 8, 8\) fails"):
        medseg.info("phantom_unet", ["image_size=[8,8]"])
