"""Every shipped config trains for a moment on files in its data set's published layout."""

import json

import numpy as np
import pytest
import yaml

from medseg.config import train
from medseg.datasets import acdc, phantom, starfield, synapse
from medseg.model import read_model
from medseg.shipped import shipped
from medseg.volumes import Volume, write_label_map, write_volume

WIDTHS = {"hidden_size": 24, "mlp_dim": 24, "num_heads": 2, "num_layers": 1}
CONV = {"block_units": [1, 1, 1], "width_factor": 0.125}
TINY_NETWORKS = {
    "TransUNet": WIDTHS | CONV,
    "R50UNet": CONV,
    "R50AttnUNet": CONV,
    "Segmenter": WIDTHS,
    "TransUNet3D": WIDTHS | {"widths": [8, 8, 8, 8]},
    "UNet": {"channels": [8, 8, 8, 8]},
    "SegResNet": {"init_filters": 8},
    "SwinUNETR": {"feature_size": 12, "depths": [1, 1, 1, 1]},
    "UNETR": {"hidden_size": 24, "mlp_dim": 24, "num_heads": 2, "feature_size": 8},
}
TINY = [
    "train_loader::batch_size=2", "settings::max_epochs=1",
    "settings::device=cpu", "settings::precision=float32",
]  # fmt: skip
SIDES = {"image_size": [32, 32], "patch_size": [16, 32, 16]}  # of slices and of patches
LEAST = {"SwinUNETR": {"patch_size": [32, 64, 32]}}
SIZE = (24, 24, 8)


def _write_phantom(root):
    phantom.write(root, counts={"train": 2, "val": 1, "test": 1}, size=SIZE)


def _write_synapse(root):
    values = np.zeros(9, dtype=np.uint8)
    for organ, value in phantom.LABELS.items():
        values[value] = synapse.LABELS[organ]
    for number in range(1, 41):
        if number in range(11, 21):
            continue  # the published numbers leave these out
        image, label = phantom.make_case(0, number, SIZE)
        folder = root / "RawData" / "Training"
        write_volume(folder / "img" / f"img{number:04d}.nii.gz", image)
        label = Volume(values[label.array], label.affine)
        write_label_map(folder / "label" / f"label{number:04d}.nii.gz", label)


def _write_acdc(root):
    rng = np.random.default_rng(0)
    for number in range(1, 101):
        folder = root / "training" / f"patient{number:03d}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: DCM\nHeight: 170\nWeight: 70\n")
        for frame in (1, 9):
            label = np.zeros((20, 20, 4), dtype=np.uint8)
            label[4:9, 5:15], label[9:16, 5:15], label[11:14, 7:13] = 1, 2, 3
            image = (label * 40 + rng.integers(0, 20, label.shape)).astype(np.int16)
            stem = folder / f"patient{number:03d}_frame{frame:02d}"
            affine = np.diag([1.5, 1.5, 10.0, 1.0])
            write_volume(stem.with_name(f"{stem.name}.nii.gz"), Volume(image, affine))
            write_label_map(stem.with_name(f"{stem.name}_gt.nii.gz"), Volume(label, affine))


def _write_hippocampus(root):
    rng = np.random.default_rng(0)
    names = [f"hippocampus_{number:03d}" for number in range(5)]
    for name in names:
        label = np.zeros((20, 26, 10), dtype=np.uint8)
        label[6:12, 8:14, 2:8], label[6:12, 14:20, 2:8] = 1, 2
        image = (label * 90 + rng.integers(0, 60, label.shape)).astype(np.float32)
        write_volume(root / "imagesTr" / f"{name}.nii.gz", Volume(image, np.eye(4)))
        write_label_map(root / "labelsTr" / f"{name}.nii.gz", Volume(label, np.eye(4)))
    pairs = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in names
    ]
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "training": pairs}))
    splits = {"train": names[:3], "val": names[3:4], "test": names[4:]}
    (root / "splits.json").write_text(json.dumps(splits))


def _write_decam(root):
    starfield.write(root, counts={"train": 4, "val": 1, "test": 1}, size=48)


WRITERS = {
    "phantom": _write_phantom,
    "synapse": _write_synapse,
    "acdc": _write_acdc,
    "hippocampus": _write_hippocampus,
    "decam": _write_decam,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped("configs"))
def test_every_shipped_config_trains_on_its_published_layout(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    data, changes = tmp_path / "data", list(TINY)
    WRITERS[name.split("_")[0]](data)
    content = yaml.safe_load(shipped("configs")[name].read_text())
    kind = content["network"]["_target_"].rpartition(".")[2]
    content["network"] |= TINY_NETWORKS.get(kind, {})
    sides = SIDES | LEAST.get(kind, {})
    content |= {key: side for key, side in sides.items() if key in content}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    if not name.startswith("decam"):
        changes += ["train_loader::batches_per_epoch=2"]
    run = train(tmp_path / "tiny.yaml", [*changes, f"data={data}", f"out_dir={tmp_path / 'run'}"])
    model = read_model(run / "model")
    trained_on, held_back = (model.provenance[f"{part}_cases"] for part in ("train", "val"))
    assert trained_on
    assert held_back or content["validation"] is None
    assert not set(trained_on) & set(held_back)
    if name.startswith("acdc"):
        assert len(trained_on) == 2 * 70
        assert model.spec.labels == acdc.LABELS
    if name.startswith("synapse"):
        assert len(trained_on) + len(held_back) == 18
        assert model.spec.labels == synapse.labels("A")


PHANTOM = [name for name in shipped("configs") if name.startswith("phantom")]


@pytest.mark.slow
@pytest.mark.parametrize("name", PHANTOM)
def test_every_network_trains_two_epochs_from_its_own_config(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    _write_phantom(tmp_path / "data")
    changes = [f"data={tmp_path / 'data'}", f"out_dir={tmp_path / 'run'}"]
    changes += ["settings::max_epochs=2", "train_loader::batches_per_epoch=2"]
    run = train(name, [*changes, "train_loader::batch_size=4", "settings::device=cpu"])
    rows = (run / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + 2
    losses = [float(row.split(",")[2]) for row in rows[1:]]
    assert all(np.isfinite(losses))
    assert read_model(run / "model").spec.labels == phantom.LABELS
