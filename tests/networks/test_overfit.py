"""Every network can learn: it overfits four slices of the phantom."""

import numpy as np
import pytest
import torch

from medseg.datasets import phantom
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.slices import SliceDataset
from medseg.loading.store import open_store
from medseg.losses import BCEDiceLoss
from medseg.networks.segmenter import Segmenter
from medseg.networks.transunet import TransUNet
from medseg.networks.unet_r50 import R50AttnUNet, R50UNet
from medseg.networks.vnet import VNet
from medseg.training.validation import dsc_of

pytestmark = pytest.mark.slow

SIZE = 64
ORGANS = {name: phantom.LABELS[name] for name in ("liver", "spleen", "stomach")}
WIDTHS = {"hidden_size": 96, "mlp_dim": 192, "num_heads": 4, "num_layers": 2}
CONV = {"block_units": (1, 1, 1), "width_factor": 0.5}
UP = {"decoder_channels": (64, 48, 32, 32, 16)}
BASE = {"image_size": SIZE, "num_classes": 4}
PURE = {**BASE, **WIDTHS, **UP, "variant": "ViT-B_8", "dropout": 0.0}
NETWORKS = {
    "TransUNet": lambda: TransUNet(**BASE, **WIDTHS, **CONV, **UP, dropout=0.0),
    "R50-ViT-CUP": lambda: TransUNet(**BASE, **WIDTHS, **CONV, **UP, dropout=0.0, num_skips=0),
    "ViT-CUP": lambda: TransUNet(**PURE),
    "ViT-None": lambda: TransUNet(**PURE | {"patch_size": 4}, decoder="naive"),
    "R50-U-Net": lambda: R50UNet(num_classes=4, **CONV, **UP),
    "R50-AttnUNet": lambda: R50AttnUNet(num_classes=4, **CONV, **UP),
    "Segmenter": lambda: Segmenter(**BASE, **WIDTHS, patch_size=2, decoder_dropout=0.0),
    "Segmenter, linear": lambda: Segmenter(**BASE, **WIDTHS, patch_size=2, decoder="linear"),
    "V-Net": lambda: VNet(num_classes=4, dropout=0.0),
}


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """The four slices of a phantom case that show most of three organs."""
    root = tmp_path_factory.mktemp("phantom")
    phantom.write(root / "data", counts={"train": 1}, size=(SIZE, SIZE, 32))
    stored = open_store(
        phantom.cases(root / "data"),
        Preprocessing(window=(-125, 275)),
        ORGANS,
        root=root / "store",
    )
    slices = SliceDataset(stored, SliceGeometry((SIZE, SIZE)))
    shown = np.minimum(stored[0].counts[:, 1:], 40).sum(1)
    chosen = [slices[int(index)] for index in np.argsort(shown)[-4:]]
    return {key: torch.stack([item[key] for item in chosen]) for key in ("image", "label")}


def mean_dsc(logits, label):
    found = logits.argmax(1)
    pairs = torch.bincount((label * 4 + found).flatten(), minlength=16)
    return float(np.nanmean(dsc_of(pairs.view(4, 4).numpy())))


@pytest.mark.parametrize("name", NETWORKS)
def test_it_overfits_four_slices(name, batch):
    torch.manual_seed(0)
    network, loss = NETWORKS[name](), BCEDiceLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    best = 0.0
    for step in range(400):
        optimizer.zero_grad()
        logits = network(batch["image"])
        loss(logits, batch["label"]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 19:
            with torch.no_grad():
                best = max(best, mean_dsc(network.eval()(batch["image"]), batch["label"]))
            network.train()
        if best >= 0.95:
            break
    assert best >= 0.95, f"{name}: DSC {best:.3f} after {step + 1} steps"
