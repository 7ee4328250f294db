"""Every network for volumes can learn, with several attentions: it overfits a phantom."""

import numpy as np
import pytest
import torch

from medseg.datasets import phantom
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.store import open_store
from medseg.losses import BCEDiceLoss
from medseg.networks.hierarchical_3d import HierarchicalViT3D
from medseg.networks.transunet_3d import TransUNet3D
from medseg.networks.vit_3d import ViTCUP3D
from medseg.training.validation import dsc_of

pytestmark = pytest.mark.slow

SIZE = (64, 64, 32)
ORGANS = {name: phantom.LABELS[name] for name in ("liver", "stomach")}
CLASSES = 1 + len(ORGANS)
ENOUGH = 0.9  # DSC; without anything learned it is 0
TOKENS = {"hidden_size": 96, "mlp_dim": 192, "num_heads": 6, "dropout": 0.0}
BASE = {"image_size": SIZE, "num_classes": CLASSES, **TOKENS}
CONV = {"widths": (8, 16, 32, 64), "num_layers": 2}
PATCH = {"widths": (16, 32), "num_layers": 4}
NETWORKS = {
    **{f"TransUNet3D, {a}": lambda a=a: TransUNet3D(**BASE, **CONV, attention=a)
       for a in ("dense", "windowed", "axial", "block_sparse")},
    "TransUNet3D, thick": lambda: TransUNet3D(
        **BASE, **CONV, strides=((2, 2, 1), 2, 2), deep_supervision=True
    ),
    "ViTCUP3D": lambda: ViTCUP3D(**BASE, **PATCH, attention="windowed", window=8),
    "HierarchicalViT3D": lambda: HierarchicalViT3D(**BASE, widths=(16, 32), num_layers=(3, 1)),
}  # fmt: skip


@pytest.fixture(scope="module")
def patch(tmp_path_factory):
    """A whole phantom of 64 x 64 x 32 voxels, image and label."""
    root = tmp_path_factory.mktemp("phantom")
    phantom.write(root / "data", counts={"train": 1}, size=SIZE)
    stored = open_store(
        phantom.cases(root / "data"),
        Preprocessing(window=(-125, 275)),
        ORGANS,
        root=root / "store",
    )[0]
    image, label = (np.moveaxis(np.asarray(a), 0, -1) for a in (stored.images, stored.classes))
    return torch.tensor(image, dtype=torch.float32)[None, None], torch.tensor(label).long()[None]


def mean_dsc(logits, label):
    pairs = torch.bincount((label * CLASSES + logits.argmax(1)).flatten(), minlength=CLASSES**2)
    return float(np.nanmean(dsc_of(pairs.view(CLASSES, CLASSES).numpy())))


@pytest.mark.parametrize("name", NETWORKS)
def test_it_overfits_a_volume(name, patch):
    torch.manual_seed(0)
    (image, label), network, loss = patch, NETWORKS[name](), BCEDiceLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    best = 0.0
    for step in range(200):
        optimizer.zero_grad()
        logits = network.train()(image)
        logits = logits[0] if isinstance(logits, list) else logits
        loss(logits, label).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 9:
            with torch.no_grad():
                best = max(best, mean_dsc(network.eval()(image), label))
        if best >= ENOUGH:
            break
    assert best >= ENOUGH, f"{name}: DSC {best:.3f} after {step + 1} steps"
