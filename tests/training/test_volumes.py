"""Training on 3D patches, validated by sliding windows."""

import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.loading.geometry import PatchGeometry
from medseg.loading.patches import patch_loader
from medseg.loading.preprocessing import Preprocessing
from medseg.losses import BCEDiceLoss, DeepSupervision
from medseg.model import ModelSpec, read_model
from medseg.training import epoch_end
from medseg.training.schedules import Cosine
from medseg.training.settings import TrainSettings
from medseg.training.train import train
from medseg.training.validation import Validation
from medseg.volumes import Volume
from tests.training.small import LABELS, build, reopen, same, stored_case, weights

GEOMETRY = PatchGeometry((16, 16, 8), overlap=0.25)
UNET = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [8, 16, 16],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "batch",
}
TRANSUNET = {
    "_target_": "medseg.networks.transunet_3d.TransUNet3D",
    "image_size": [16, 16, 8],
    "num_classes": 3,
    "widths": [8, 8, 8],
    "hidden_size": 16,
    "mlp_dim": 16,
    "num_heads": 2,
    "num_layers": 1,
    "attention": "windowed",
    "deep_supervision": True,
    "checkpointing": True,
}


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    monkeypatch.setattr(epoch_end, "write_figures", lambda *_: None)


def balls(folder, name, seed):
    """A volume (Z, X, Y) with a half-bright and a bright ball."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.indices((12, 24, 20)), axis=-1)
    classes = np.zeros((12, 24, 20), dtype=np.uint8)
    for value, centre in ((1, (5, 7, 8)), (2, (7, 16, 11))):
        distance = np.linalg.norm(places - centre - rng.uniform(-1, 1, 3), axis=-1)
        classes[distance < 4] = value
    return stored_case(folder, name, classes, 0.45 * classes + rng.uniform(0, 0.1, classes.shape))


def fit(folder, network, *, progress=None, resume=False, **changes):
    data = folder / "data"
    names = [f"case{seed}" for seed in range(4)]
    cases = [
        reopen(data / name) if (data / name).exists() else balls(data, name, seed)
        for seed, name in enumerate(names)
    ]
    model = build(network)
    loader = patch_loader(
        cases[:3], GEOMETRY, batch_size=2, batches_per_epoch=changes.pop("batches", 4),
        augment={"rotation_degrees": 10.0}, seed=1,
    )  # fmt: skip
    return train(
        model,
        DeepSupervision(BCEDiceLoss()),
        torch.optim.AdamW(model.parameters(), lr=changes.pop("rate", 0.01)),
        loader,
        schedule=Cosine(),
        validation=Validation(cases[3:], LABELS, GEOMETRY, batch_size=2),
        settings=TrainSettings(device="cpu", seed=3, resume=resume, **changes),
        model=ModelSpec(network, LABELS, Preprocessing(window=(0, 1)), GEOMETRY),
        out_dir=folder / "run",
        **({} if progress is None else {"progress": progress}),
    )


def test_a_3d_network_learns_two_balls_and_predicts_them_from_its_model_folder(tmp_path):
    run = fit(tmp_path, UNET, max_epochs=8, batches=10, channels_last=True)
    model = read_model(run / "model")
    assert model.provenance["val_dsc"] > 0.85
    assert model.spec.geometry == GEOMETRY
    case = balls(tmp_path / "other", "unseen", 77)
    volume = Volume(case.images.transpose(1, 2, 0).copy(), np.eye(4))
    found = Predictor(model, PredictSettings(device="cpu", precision="float32"))(volume).array
    truth = np.array([0, 6, 1])[case.classes.transpose(1, 2, 0)]
    assert (found == truth)[truth > 0].mean() > 0.85


def test_deep_supervision_and_checkpointing_train_and_resume_as_one_run(tmp_path):
    whole = fit(tmp_path / "whole", TRANSUNET, max_epochs=2)

    def stop(task, done, total, note=""):
        if (task, done) == ("Training", 6):
            raise KeyboardInterrupt

    with pytest.raises(Exception, match="go on with --resume"):
        fit(tmp_path / "parts", TRANSUNET, max_epochs=2, progress=stop)
    parts = fit(tmp_path / "parts", TRANSUNET, max_epochs=2, resume=True)
    assert same(weights(parts), weights(whole))


def test_a_network_whose_logits_have_another_size_is_told(tmp_path):
    shrinking = {
        "_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 3,
    }  # fmt: skip
    with pytest.raises((UsageError, ValueError), match="shape"):
        fit(tmp_path, shrinking, max_epochs=1)
