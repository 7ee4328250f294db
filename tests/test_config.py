from pathlib import Path

import pytest
import torch
import yaml

from medseg.config import find_config, load_config, model_spec, save_config
from medseg.errors import InputError, UsageError
from medseg.model import build_network
from medseg.shipped import shipped

CONFIGS = shipped("configs")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_binds_to_its_functions(name):
    load_config(name)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_network_can_be_rebuilt_from_its_model_card(name):
    config = load_config(name)
    spec = model_spec(config)
    numbers = "swinunetr" in name  # MONAI reads rates from a tensor when it builds one
    with torch.device("cpu" if numbers else "meta"):  # sizes without numbers
        given = sum(p.numel() for p in config.get_parsed_content("network").parameters())
        assert sum(p.numel() for p in build_network(spec.network).parameters()) == given
    assert config.get_parsed_content("network") is config.get_parsed_content("network")


def test_override_values_keep_their_type():
    config = load_config("phantom_transunet", ["optimizer::lr=1e-4", "data=my/data"])
    assert (config["optimizer::lr"], config["data"]) == (1e-4, "my/data")


def test_references_follow_an_override():
    config = load_config("phantom_transunet", ["image_size=[32,48]"])
    spec = model_spec(config)
    assert spec.geometry.image_size == (32, 48)
    assert list(spec.network["image_size"]) == [32, 48]


def test_a_misspelt_override_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"no key 'settings::max_epoch'.*settings::max_epochs"):
        load_config("phantom_transunet", ["settings::max_epoch=5"])
    with pytest.raises(UsageError, match="expected section::key=value"):
        load_config("phantom_transunet", ["seed"])


def test_an_unknown_config_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="phantom_transunet"):
        find_config("phantom_transunets")


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("network", {"hidden_sizes": 3}, r"network: medseg\.networks.*hidden_sizes"),
        ("network", {"_target_": "medseg.networks.transunet.TransNet"}, "TransNet"),
        ("loss", {"_target_": "medseg.loses.BCEDiceLoss"}, "loss: no 'medseg.loses"),
        ("settings", {"max_epoch": 3}, "settings: .*max_epoch"),
    ],
)
def test_an_argument_that_does_not_fit_is_said_with_its_section(tmp_path, section, change, message):
    content = yaml.safe_load(CONFIGS["phantom_transunet"].read_text())
    content[section] |= change
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError, match=message):
        load_config(tmp_path / "mine.yaml")


def test_a_missing_section_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 0\n")
    with pytest.raises(UsageError, match="network, loss"):
        load_config(tmp_path / "mine.yaml")


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "just words"])
def test_what_is_no_config_is_refused(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml: expected"):
        load_config(tmp_path / "mine.yaml")


def test_a_saved_config_is_the_one_that_ran(tmp_path):
    config = load_config("phantom_transunet", ["seed=7"])
    save_config(config, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml")
    assert again["seed"] == 7
    assert again.get() == config.get()
    assert Path(tmp_path / "config.yaml").read_text().startswith("seed: 7")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('labels={"liver": 5}', "num_classes: expected 1 or 2 .* got 9"),
        ("geometry::neighbours=2", "in_channels: expected 5 .* got 3"),
    ],
)
def test_channels_that_do_not_fit_organs_or_slices_are_refused_before_anything_runs(
    change, message
):
    with pytest.raises(UsageError, match=message):
        model_spec(load_config("phantom_transunet", [change]))


def test_what_a_part_says_of_its_arguments_is_told_as_it_is():
    config = load_config("hippocampus_unet_3d", ["geometry::patch_size=[40, 56]"])
    with pytest.raises(UsageError, match=r"^patch_size must be three positive sizes, got \(40, 56"):
        model_spec(config)
