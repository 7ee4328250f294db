"""Names of published weights, held against lists that were read from published code and files."""

import json

import pytest
import torch

from medseg.networks.transunet import TransUNet
from medseg.networks.weight_names import place, rename
from tests.shared import SHARED

FOLDER = SHARED / "reference"
needs_lists = pytest.mark.skipif(
    not (FOLDER / "google_npz_map.json").is_file(), reason=f"needs {FOLDER}"
)
CONFIGURATIONS = {
    "R50-ViT-B_16_224_c9_skip3": {},
    "R50-ViT-B_16_224_c9_skip0": {"num_skips": 0},
    "R50-ViT-B_16_256_c4_skip1": {"image_size": 256, "num_classes": 4, "num_skips": 1},
    "ViT-B_16_224_c9_skip0": {"variant": "ViT-B_16"},
    "ViT-B_32_224_c9_skip0": {"variant": "ViT-B_32"},
    "DeCAM_222_256_c1_skip3": {"variant": "DeCAM", "image_size": 256, "num_classes": 1},
    "DeCAM_333_256_c1_skip3": {
        "variant": "DeCAM", "image_size": 256, "num_classes": 1, "block_units": (3, 3, 3)},
    "DeCAM_222_128_c1_skip3": {"variant": "DeCAM", "image_size": 128, "num_classes": 1},
    "R50-ViT-L_16_224_c9_skip3": {"variant": "R50-ViT-L_16"},
    "ViT-L_16_224_c9_skip0": {"variant": "ViT-L_16"},
    "ViT-L_32_224_c9_skip0": {"variant": "ViT-L_32"},
}  # fmt: skip


def shapes(tensors):
    """Our name → shape, after renaming; nothing is computed."""
    return {name: tuple(tensor.shape) for name, (tensor, _) in rename(tensors).items()}


def empty(shape):
    return torch.empty(shape, device="meta")


@needs_lists
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_name_of_the_original_becomes_ours_with_its_shape(name):
    lists = json.loads((FOLDER / "transunet_state_dict_keys.json").read_text())
    renamed = shapes({key: empty(shape) for key, shape in lists[name]["state_dict"].items()})
    with torch.device("meta"):
        network = TransUNet(**CONFIGURATIONS[name])
    assert renamed == {key: tuple(value.shape) for key, value in network.state_dict().items()}


@needs_lists
@pytest.mark.parametrize("file", ["R50+ViT-B_16.npz", "ViT-B_16.npz"])
def test_every_array_of_google_becomes_the_same_weight_as_in_the_original(file):
    found = json.loads((FOLDER / "google_npz_map.json").read_text())[file]
    original = json.loads((FOLDER / "transunet_state_dict_keys.json").read_text())
    wanted = original[found["config"]]["state_dict"]
    arrays = {key: empty(entry["npz_shape"]) for key, entry in found["map"].items()}
    targets = {entry["torch"]: empty(wanted[entry["torch"]]) for entry in found["map"].values()}
    ours = shapes(arrays)
    batch, tokens, width = ours["encoder.pos_embed"]
    ours["encoder.pos_embed"] = (batch, tokens - 1, width)  # without the class token
    assert ours == shapes(targets)


def test_the_prefix_that_fits_most_names_is_taken_for_all():
    deit = ["blocks.0.norm1.weight", "norm.weight", "head.weight"]
    ours = ["encoder.blocks.0.norm1.weight", "encoder.norm.weight", "head.weight"]
    assert place(deit, ours) == {deit[0]: ours[0], deit[1]: ours[1]}
    assert place(ours, deit) == {ours[0]: deit[0], ours[1]: deit[1]}
    assert place(ours, ours) == dict(zip(ours, ours, strict=True))
    assert place(["conv1.weight"], ["backbone.conv1.weight"]) == {
        "conv1.weight": "backbone.conv1.weight"
    }
    assert place(["a"], ["b"]) == {}
