"""Logits after an import equal those of the published code after its own import."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medseg import cli
from medseg.config import build_network, load_config
from medseg.networks.pretrained import load_pretrained
from medseg.networks.transunet import TransUNet
from tests.networks.original_keys import fill
from tests.networks.published import google_arrays, original_state, save, save_npz

FOLDER = Path(__file__).parents[1] / "reference"
CONFIGS = {
    "DeCAM_222_128_c1_skip3": [
        "network::variant=DeCAM", "image_size=[128,128]", "network::num_classes=1",
        'labels={"cosmic ray":1}',
    ],
    "ViT-B_32_224_c9_skip0": ["network::variant=ViT-B_32"],
    "R50-ViT-B_16_224_c9_skip0": ["network::num_skips=0"],
}  # fmt: skip
LARGE = [
    pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS if not name.startswith("DeCAM")
]


def reference(name):
    for file in ("transunet.npz", "pretrained.npz"):
        with np.load(FOLDER / file) as arrays:
            if name in arrays:
                return arrays[name]
    raise KeyError(name)


def head_output(network, side):
    """What the last convolution gives; with a patch of 32 the original stops there."""
    image = np.random.RandomState(0).standard_normal((1, 1, side, side)).astype(np.float32)
    seen = []
    network.eval().head.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.inference_mode():
        network(torch.from_numpy(image))
    return seen[0]


@pytest.mark.parametrize("name", ["DeCAM_222_128_c1_skip3", *LARGE])
def test_a_converted_checkpoint_of_the_original_gives_its_logits(tmp_path, name):
    network, _ = build_network(load_config("synapse_transunet", CONFIGS[name]))
    file = save(tmp_path / "original.pth", original_state(network))
    out = tmp_path / "ours.safetensors"
    command = ["convert-weights", str(file), "-o", str(out), "--model", "synapse_transunet"]
    assert cli.run([*command, *CONFIGS[name], "--json"]) == 0

    network.load_state_dict(load_file(out))
    expected = reference(f"{name}/logits")
    logits = head_output(network, network.encoder.grid[0] * network.multiple)
    step = logits.shape[2] // expected.shape[2]
    np.testing.assert_allclose(logits[..., ::step, ::step], expected, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_an_import_of_google_gives_the_logits_of_the_original_after_its_own(tmp_path):
    network = TransUNet(variant="ViT-B_16")
    fill(network)
    load_pretrained(network, save_npz(tmp_path / "ViT-B_16.npz", google_arrays(network)))
    name = "loadfrom/ViT-B_16_224_c9_skip0"
    positions = network.encoder.pos_embed.detach().numpy()
    np.testing.assert_allclose(
        positions[0, ::8, ::32], reference(f"{name}/pos_sample"), rtol=0, atol=1e-7
    )
    logits = head_output(network, 224)[..., ::8, ::8]
    np.testing.assert_allclose(logits, reference(f"{name}/logits"), rtol=0, atol=2e-5)
