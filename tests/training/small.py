"""A training small enough for a test: two organs of their own brightness, in noise."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from medseg.jobs import silent
from medseg.loading.geometry import SliceGeometry
from medseg.loading.loaders import slice_loader
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.store import StoredCase
from medseg.model import ModelSpec
from medseg.training.schedules import Poly
from medseg.training.settings import TrainSettings
from medseg.training.train import train
from medseg.training.validation import Validation

LABELS = {"liver": 6, "spleen": 1}
GEOMETRY = SliceGeometry(image_size=(16, 16))
BATCH = 4
UNET = {
    "_target_": "monai.networks.nets.BasicUNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "features": [4, 4, 4, 4, 4, 4],
    "norm": "batch",
    "dropout": 0.1,
}
CONVOLUTION = {
    "_target_": "torch.nn.Conv2d",
    "in_channels": 1,
    "out_channels": 3,
    "kernel_size": 3,
    "padding": 1,
}


def stored_case(folder: Path, name: str, classes: np.ndarray, images: np.ndarray) -> StoredCase:
    """A case as the slice store keeps it; images in [0, 1], both (Z, X, Y)."""
    folder = folder / name
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.round(images * 65535).astype(np.uint16))
    np.save(folder / "classes.npy", classes.astype(np.uint8))
    counts = np.stack([(classes == index).sum(axis=(1, 2)) for index in range(3)], axis=1)
    np.save(folder / "counts.npy", counts)
    offsets = [
        (folder / file).stat().st_size - classes.size * width
        for file, width in (("images.npy", 2), ("classes.npy", 1))
    ]
    return StoredCase(
        case_id=name,
        folder=folder,
        shape=classes.shape,
        affine=np.eye(4),
        num_classes=3,
        has_label=True,
        offsets=(offsets[0], offsets[1]),
    )


def organs(folder: Path, name: str, seed: int) -> StoredCase:
    """Four slices with a half-bright and a bright square at places that the seed decides."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((4, 16, 16), dtype=np.uint8)
    for plane in classes:
        x, y = rng.integers(1, 4, size=2)
        plane[x : x + 5, y : y + 5] = 1
        plane[x + 6 : x + 11, y + 6 : y + 11] = 2
    images = 0.45 * classes + rng.uniform(0, 0.1, classes.shape)
    return stored_case(folder, name, classes, images)


def build(network: dict) -> nn.Module:
    """The network of a specification, its weights always the same."""
    from medseg.model import build_network

    torch.manual_seed(0)
    return build_network(network)


def spec(network: dict) -> ModelSpec:
    """What the model folder says."""
    return ModelSpec(network, LABELS, Preprocessing(window=(0, 1)), GEOMETRY)


def six_cases(folder: Path) -> list[StoredCase]:
    """Made at the first call, opened after."""
    if folder.exists():
        return [reopen(folder / f"case{seed}") for seed in range(6)]
    return [organs(folder, f"case{seed}", seed) for seed in range(6)]


def loader_of(cases: list[StoredCase], workers: int = 0) -> DataLoader:
    """Batches of the first four cases."""
    return slice_loader(cases[:4], GEOMETRY, batch_size=BATCH, seed=1, workers=workers)


def fit(folder: Path, *, network: dict = CONVOLUTION, **changes) -> Path:
    """Train on four cases and validate on two, all of them kept in ``folder``.

    Settings are changed by name; ``loss``, ``schedule``, ``progress``, ``out_dir``, ``rate``,
    ``optimizer``, ``workers`` and ``validated`` replace the other parts.
    """
    cases = six_cases(folder / "data")
    parts = {
        name: changes.pop(name, default)
        for name, default in {
            "loss": nn.CrossEntropyLoss(),
            "schedule": Poly(),
            "progress": silent,
            "rate": 0.05,
            "workers": 0,
            "out_dir": folder / "run",
            "validated": True,
            "optimizer": torch.optim.AdamW,
        }.items()
    }
    model = build(network)
    length = {} if "max_iterations" in changes else {"max_epochs": 2}
    settings = length | {"device": "cpu", "seed": 3} | changes
    return train(
        model,
        parts["loss"],
        parts["optimizer"](model.parameters(), lr=parts["rate"]),
        loader_of(cases, parts["workers"]),
        schedule=parts["schedule"],
        validation=Validation(cases[4:], LABELS, GEOMETRY) if parts["validated"] else None,
        settings=TrainSettings(**settings),
        model=spec(network),
        out_dir=parts["out_dir"],
        progress=parts["progress"],
    )


def reopen(folder: Path) -> StoredCase:
    """A case written before."""
    classes = np.load(folder / "classes.npy")
    offsets = [
        (folder / file).stat().st_size - classes.size * width
        for file, width in (("images.npy", 2), ("classes.npy", 1))
    ]
    return StoredCase(
        folder.name, folder, classes.shape, np.eye(4), 3, True, (offsets[0], offsets[1])
    )


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """Weights of a checkpoint."""
    return torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)["network"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
