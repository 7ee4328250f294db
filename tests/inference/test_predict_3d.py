from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import ResourceError, UsageError
from medseg.inference import memory
from medseg.inference.fast import prepare
from medseg.inference.label_map import Run, label_map_of
from medseg.inference.memory import forward_bytes, run_within
from medseg.inference.native import paint_labels, resample_logits, same_grid, turn_to_native
from medseg.inference.predict import predict
from medseg.inference.predictor import Predictor, PredictSettings, predict_volume
from medseg.inference.prepared import PreparedSlices
from medseg.loading.geometry import PatchGeometry, SliceGeometry
from medseg.loading.preprocessing import Preprocessing, prepare_image
from medseg.model import LoadedModel, ModelSpec, read_model, write_model
from medseg.volumes import Header, Volume, read_volume, write_volume
from tests.inference.test_windows import Placed, by_monai
from tests.inference.whole_volume import random_volume


def _spec(geometry, classes=3, spacing=None):
    labels = {f"organ{index}": 2 * index for index in range(1, classes)}
    return ModelSpec({}, labels, Preprocessing(window=(-150.0, 200.0), spacing=spacing), geometry)


def _whole(spec, network, volume):
    """MONAI's windows over the whole prepared volume, then the native grid at once."""
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    prepared = prepare_image(volume, spec.preprocessing)
    images = np.ascontiguousarray(prepared.array.transpose(2, 0, 1))
    logits = by_monai(network, images, spec.geometry).permute(1, 2, 3, 0).numpy()
    if same_grid(prepared.affine, prepared.array.shape, native):
        return paint_labels(turn_to_native(logits.argmax(0), native), spec.labels, native).array
    classes = resample_logits(logits, prepared.affine, native)
    return paint_labels(classes, spec.labels, native).array


@pytest.mark.parametrize("seed", range(12))
def test_label_maps_equal_those_of_monai_and_the_whole_volume_way(seed):
    volume = random_volume(seed)
    spacing = [None, (1.5, 1.5, 3.0), (2.0, 0.9, None), (None, None, 5.0)][seed % 4]
    spec = _spec(PatchGeometry((8, 10, 6), (0.5, 0.25, 0.6)[seed % 3]), 4, spacing)
    network = Placed(4, seed)
    expected = _whole(spec, network, volume)
    assert len(np.unique(expected)) > 1
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    images = PreparedSlices(volume, spec.preprocessing)
    for run in (Run(), Run(batch_size=3, slab_bytes=9000, held_bytes=0)):
        found = label_map_of(spec, images, native, network, run).array
        assert np.mean(found == expected) > (0.9999 if spacing else 0.999999)


@pytest.mark.parametrize(
    "shape",
    [
        (16, 16, 16),
        (200, 16, 17),
        (17, 200, 16),
        (16, 19, 200),
        pytest.param((200, 200, 200), marks=pytest.mark.slow),
        pytest.param((199, 33, 200), marks=pytest.mark.slow),
    ],
)
def test_volumes_of_any_size_are_predicted(shape):
    array = np.random.default_rng(0).integers(-300, 400, shape).astype(np.int16)
    network = nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        network.weight[:] = torch.tensor([-10.0, 10.0]).view(2, 1, 1, 1, 1)
        network.bias[:] = torch.tensor([5.0, -5.0])
    model = LoadedModel(_spec(PatchGeometry((64, 48, 32)), 2), network.eval(), {})
    found = predict_volume(model, Volume(array, np.diag([0.8, 0.8, 5.0, 1.0])))
    np.testing.assert_array_equal(found.array, (array > 25) * 2)


def test_the_predictor_takes_3d_models_flips_ensembles_and_another_overlap():
    volume, spec = random_volume(3), _spec(PatchGeometry((8, 10, 6)))
    one, other = (LoadedModel(spec, Placed(3, seed).eval(), {}) for seed in (0, 1))

    def settings(**more):
        return PredictSettings(device="cpu", precision="float32", **more)

    plain = Predictor(one, settings())(volume).array
    np.testing.assert_array_equal(plain, predict_volume(one, volume).array)
    np.testing.assert_array_equal(Predictor([one, one], settings())(volume).array, plain)
    both = Predictor([one, other], settings(tta="flips"))(volume).array
    assert (both != plain).any()
    apart = replace(one, spec=replace(spec, geometry=PatchGeometry((8, 10, 6), 0.0)))
    expected = predict_volume(apart, volume).array
    assert (expected != plain).any()
    np.testing.assert_array_equal(Predictor(one, settings(overlap=0.0))(volume).array, expected)
    few = Predictor(one, settings(max_memory_gb=100.0))
    np.testing.assert_array_equal(few(volume).array, plain)


def test_an_overlap_of_slices_is_refused_and_so_is_one_that_is_none():
    slices = LoadedModel(_spec(SliceGeometry((8, 8))), nn.Conv2d(1, 3, 1), {})
    with pytest.raises(UsageError, match="whole slices, they do not overlap"):
        Predictor(slices, PredictSettings(device="cpu", overlap=0.5))
    patches = LoadedModel(_spec(PatchGeometry((8, 8, 8))), nn.Conv3d(1, 3, 1), {})
    with pytest.raises(UsageError, match="below 1, got 1"):
        Predictor(patches, PredictSettings(device="cpu", overlap=1.0))


def test_large_patches_are_fewer_at_once():
    assert Run().batch_of(_spec(PatchGeometry((96, 96, 96)))) == 1
    assert Run().batch_of(_spec(PatchGeometry((64, 64, 64)))) == 4
    assert Run().batch_of(_spec(PatchGeometry((16, 16, 16)))) == 16
    assert Run(batch_size=2).batch_of(_spec(PatchGeometry((16, 16, 16)))) == 2


class Hungry(nn.Module):
    """Runs out of memory from so many windows on."""

    def __init__(self, most):
        super().__init__()
        self.inner, self.most, self.seen = Placed(), most, []

    def forward(self, batch):
        self.seen.append(len(batch))
        if len(batch) > self.most:
            raise MemoryError
        return self.inner(batch)


def test_a_volume_is_tried_with_half_the_windows_until_they_fit():
    volume, network = random_volume(1), Hungry(2)
    model = LoadedModel(_spec(PatchGeometry((5, 4, 3))), network.eval(), {})
    found = predict_volume(model, volume).array
    assert network.seen[:4] == [16, 8, 4, 2]
    inner = LoadedModel(model.spec, network.inner, {})
    np.testing.assert_array_equal(found, predict_volume(inner, volume).array)


def test_less_memory_means_fewer_windows_then_sums_in_a_file_and_too_little_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: 1e9)
    spec = _spec(PatchGeometry((64, 64, 64)), 14)  # sums of 0.94 GB
    volume = Volume(np.zeros((512, 512, 70), np.int16), np.eye(4))
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    images = PreparedSlices(volume, spec.preprocessing)

    def plan(most_gb):
        return run_within(most_gb, Run(), spec, images, native, (150e6, 0.0))

    assert plan(3.0).batch_of(spec) == 4
    assert plan(2.7).batch_of(spec) == 2
    assert plan(2.7).held_bytes > 1e9
    assert (plan(2.0).batch_of(spec), plan(2.0).held_bytes) == (1, 0)
    with pytest.raises(ResourceError, match=r"with one window at a time, 1\.5 GB were allowed"):
        plan(1.5)


def test_the_network_is_tried_on_as_many_patches_as_matter():
    seen = []

    class Spy(nn.Module):
        def forward(self, batch):
            seen.append(tuple(batch.shape))
            return batch * 2

    assert forward_bytes(Spy(), _spec(PatchGeometry((8, 8, 4))), Run()) == (1024, 0)
    assert forward_bytes(Spy(), _spec(PatchGeometry((128, 128, 128))), Run()) == (2**23, 0)
    assert seen == [(1, 1, 8, 8, 4), (2, 1, 8, 8, 4), (1, 1, 128, 128, 128)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fast_copy_of_a_3d_network_gives_its_logits(dtype):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(),
        nn.ConvTranspose3d(16, 8, 2, stride=2), nn.InstanceNorm3d(8), nn.MaxPool3d(2),
        nn.Conv3d(8, 8, 1), nn.GroupNorm(2, 8), nn.Conv3d(8, 3, 1),
    )  # fmt: skip
    nn.init.normal_(network[1].running_mean)
    network[1].running_var.uniform_(0.5, 2)
    images = torch.randn(2, 1, 12, 10, 8)
    fast = prepare(network.eval(), dtype=dtype)
    assert isinstance(fast.network[1], nn.Identity)
    with torch.inference_mode():
        expected, found = network(images), fast(images)
    close = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(found, expected, rtol=close, atol=close)


def test_a_job_with_another_overlap_says_so_and_predicts_anew(tmp_path):
    spec = _spec(PatchGeometry((8, 8, 8)), 3)
    plain = {"in_channels": 1, "out_channels": 3, "kernel_size": 3, "padding": 1}
    spec = replace(spec, network={"_target_": "torch.nn.Conv3d", **plain})
    write_model(tmp_path / "model", spec, nn.Conv3d(**plain), {})
    write_volume(tmp_path / "scan.nii.gz", random_volume(0))

    def run(**more):
        settings = PredictSettings(device="cpu", precision="float32", **more)
        return predict(
            tmp_path / "scan.nii.gz", tmp_path / "out", model=tmp_path / "model", settings=settings
        )

    first, again, other = run(), run(), run(overlap=0.25)
    assert "overlap" not in first["settings"]
    assert other["settings"]["overlap"] == 0.25
    assert first["cases"] == again["cases"]
    assert first["cases"] != other["cases"]
    expected = predict_volume(read_model(tmp_path / "model"), random_volume(0)).array
    assert (read_volume(tmp_path / "out" / "scan.nii.gz", "label").array != expected).any()
