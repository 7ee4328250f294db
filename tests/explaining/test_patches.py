"""Models of 3D patches, explained window by window."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from medseg.cli import run
from medseg.errors import ResourceError, UsageError
from medseg.explain import Options, method_names
from medseg.explaining.explain import explain
from medseg.explaining.patches import PatchScan
from medseg.explaining.request import Request
from medseg.inference.windows import logits_of_windows
from medseg.loading.geometry import PatchGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, read_model, write_model
from medseg.networks.transunet_3d import TransUNet3D
from medseg.volumes import Volume, read_volume, write_volume
from tests.explaining.test_explain import LPS

SHAPE = (30, 34, 20)
PATCH = (16, 24, 16)
SMALL = {
    "image_size": list(PATCH), "in_channels": 1, "num_classes": 3, "widths": [4, 8, 8],
    "hidden_size": 12, "mlp_dim": 16, "num_heads": 2, "num_layers": 2, "attention": "windowed",
    "window": 2,
}  # fmt: skip
FEW = Options(steps=2, window=12)


def write(folder, target, arguments):
    torch.manual_seed(0)
    spec = ModelSpec(
        network={"_target_": f"{target.__module__}.{target.__name__}"} | arguments,
        labels={"liver": 1, "spleen": 2},
        preprocessing=Preprocessing(window=(0, 100)),
        geometry=PatchGeometry(patch_size=PATCH),
    )
    network = target(**arguments)
    if isinstance(network, TransUNet3D):
        with torch.no_grad():
            network.head.heads[0].bias.copy_(torch.tensor([0.0, 0.3, -9.0]))  # some liver
    write_model(folder / "model", spec, network, {})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write(tmp_path_factory.mktemp("run"), TransUNet3D, SMALL)


@pytest.fixture(scope="module")
def pointwise(tmp_path_factory):
    arguments = {"in_channels": 1, "out_channels": 3, "kernel_size": 1}
    return write(tmp_path_factory.mktemp("run"), nn.Conv3d, arguments)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "ct.nii.gz"
    array = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16)
    write_volume(path, Volume(array, LPS))
    return path


def scan_of(folder, image):
    loaded = read_model(folder / "model")
    return PatchScan(loaded, read_volume(image), torch.device("cpu")), loaded.network


def region_file(path, *boxes):
    region = np.zeros(SHAPE, dtype=np.uint8)
    for box in boxes:
        region[tuple(slice(*side) for side in box)] = 1
    write_volume(path, Volume(region, LPS))
    return path


def test_every_method_explains_a_volume_on_the_grid_of_its_file(model, image, tmp_path):
    request = Request("liver", methods=tuple(method_names()), options=FEW)
    record = explain(model, image, tmp_path, request=request)
    assert len(record["windows"]) == 1
    for method in method_names():
        found = read_volume(tmp_path / f"ct_liver_{method}.nii.gz")
        assert found.array.shape == SHAPE
        np.testing.assert_allclose(found.affine, LPS)
        assert found.array.std() > 0
        assert 0 < found.array.any(axis=(0, 1)).sum() <= PATCH[2]
        with np.load(tmp_path / f"ct_liver_{method}.npz") as arrays:
            assert arrays["maps"].shape == arrays["regions"].shape == (PATCH[2], *SHAPE[:2])
    assert (tmp_path / "ct_liver.png").stat().st_size > 1000
    assert json.loads((tmp_path / "ct_liver.json").read_text()) == record


def test_windows_add_up_to_the_mean_logit_that_prediction_gives_the_target(model, image):
    scan, network = scan_of(model, image)
    logits = torch.cat([part for _, part in logits_of_windows(network, scan.images, scan._patches)])
    region = torch.rand(logits[:, 0].shape, generator=torch.Generator().manual_seed(0)) > 0.9
    parts = scan.parts(dict(enumerate(region)), whole=True)
    assert len(parts) == 3 * 2 * 2
    assert sum(part.share for part in parts) == pytest.approx(1)
    with torch.no_grad():
        scores = [network(scan.fed([part]))[0, 1] for part in parts]
    means = [
        part.share * float((score * part.region).sum() / part.region.sum())
        for part, score in zip(parts, scores, strict=True)
    ]
    assert sum(means) == pytest.approx(float(logits[:, 1][region].mean()), abs=1e-5)


def test_through_a_volume_each_voxel_of_a_linear_network_has_its_weight_times_value(
    pointwise, image, tmp_path
):
    path = region_file(tmp_path / "region.nii.gz", ((2, 28), (3, 31), (1, 19)))
    request = Request(
        "liver", methods=("integrated_gradients",), region=path, whole_volume=True
    )  # fmt: skip
    record = explain(pointwise, image, tmp_path, request=request)
    assert len(record["windows"]) > 4
    found = read_volume(tmp_path / "ct_liver_integrated_gradients.nii.gz").array
    region = read_volume(path).array > 0
    weight = abs(float(read_model(pointwise / "model").network.weight[1].detach()))
    expected = weight * read_volume(image).array / 100 * region / region.sum()
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_the_window_lies_around_the_middle_of_the_target(model, image):
    scan, _ = scan_of(model, image)
    region = torch.zeros(scan.images.shape, dtype=torch.bool)
    region[8:11, 12:18, 15:21] = True  # middle at slice 9, row 14.5, column 17.5
    part = scan.parts(dict(enumerate(region)), whole=False)[0]
    assert part.corner == (1, 7, 6)
    assert int(part.region.sum()) == int(region.sum())
    assert part.region[12 - 7 : 18 - 7, 15 - 6 : 21 - 6, 8 - 1 : 11 - 1].all()
    window = scan.fed([part])[0, 0]
    planes = torch.from_numpy(scan.images[np.arange(1, 17)])
    torch.testing.assert_close(window, planes[:, 7:23, 6:30].permute(1, 2, 0))


def test_of_a_target_in_pieces_the_window_holds_most(model, image):
    scan, _ = scan_of(model, image)
    region = torch.zeros(scan.images.shape, dtype=torch.bool)
    region[9, 0:3, 0:3] = True
    region[9, 25:30, 28:34] = True  # 30 rows apart: no window of 16 holds both
    part = scan.parts(dict(enumerate(region)), whole=False)[0]
    assert int(part.region.sum()) == 30


def test_volumes_smaller_than_a_window_are_padded(model, tmp_path):
    path, shape = tmp_path / "small.nii.gz", (10, 26, 9)
    array = np.random.default_rng(0).integers(0, 100, shape).astype(np.int16)
    write_volume(path, Volume(array, LPS))
    request = Request("liver", methods=("rollout",), whole_volume=True)
    explain(model, path, tmp_path, request=request)
    assert read_volume(tmp_path / "small_liver_rollout.nii.gz").array.shape == shape


def test_a_slice_a_voxel_and_a_difference_are_explained_through_the_volume(model, image, tmp_path):
    for name, request in {
        "slice": Request("liver", methods=("raw",), slice_index=4),
        "voxel": Request("liver", methods=("raw",), voxel=(15, 20, 4)),
        "against": Request("liver", against="spleen", methods=("grad_cam",)),
    }.items():
        record = explain(model, image, tmp_path / name, request=request)
        assert name == "against" or record["slices"] == [4]
    deep = read_volume(tmp_path / "slice" / "ct_liver_raw.nii.gz").array.any(axis=(0, 1))
    assert deep.sum() > 1  # the target is in one slice, what it looks at is not


def test_views_of_a_network_for_volumes_show_a_plane(model, image, tmp_path):
    request = Request("liver", methods=("raw",), views=True)
    record = explain(model, image, tmp_path, request=request)
    kinds = [name.rpartition("_")[2] for name in record["views"]]
    assert kinds == ["heads.png", "distance.png", "tokens.png", "positions.png", "skips.png"]
    assert [way["name"] for way in record["skips"]] == [
        "bottom", "decoder.blocks.0", "decoder.blocks.1"
    ]  # fmt: skip
    assert all((tmp_path / name).is_file() for name in record["views"])


def test_networks_of_others_have_the_methods_that_need_no_attention(image, tmp_path):
    from monai.networks.nets import UNet

    arguments = {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]
    }  # fmt: skip
    folder = write(tmp_path / "run", UNet, arguments)
    request = Request("background", methods=("grad_cam", "occlusion"), options=FEW)
    assert set(explain(folder, image, tmp_path, request=request)["methods"]) == {
        "grad_cam", "occlusion"
    }  # fmt: skip
    with pytest.raises(UsageError, match="UNet has no attention"):
        explain(folder, image, tmp_path, request=Request("background"))


def test_a_volume_too_large_for_the_memory_allowed_says_what_would_fit(
    model, image, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("medseg.explaining.memory.resident_bytes", lambda: 0)
    command = ["explain", str(model), "-i", str(image), "-o", str(tmp_path), "--organ", "liver"]
    assert run([*command, "--no-progress", "--method", "tiba", "--max-memory", "0.001"]) == 5
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "tiba of a volume of 30 × 34 × 20 in windows of 16 × 24 × 16 needs about" in said
    monkeypatch.setattr("medseg.explaining.memory.ASIDE", 0)
    monkeypatch.setattr("medseg.explaining.memory.MARGIN", 1e4)
    request = Request("liver", methods=("tiba", "raw"), options=Options(most_bytes=3.5e10))
    with pytest.raises(ResourceError, match="or ask for raw, which would fit"):
        explain(model, image, tmp_path, request=request)
    assert not list(tmp_path.iterdir())
