import json

import numpy as np
import pytest
import torch

from medseg.cli import run
from medseg.errors import InputError, ResourceError, UsageError
from medseg.explain import Options, method_names
from medseg.explaining.explain import explain
from medseg.explaining.request import Request
from medseg.explaining.scan import Scan
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, read_model, write_model
from medseg.networks.transunet import TransUNet
from medseg.networks.unet_r50 import R50UNet
from medseg.volumes import Volume, read_volume, write_volume

SHAPE = (40, 44, 6)
LPS = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 20], [0, 0, -5, 10], [0, 0, 0, 1]])  # head first
SMALL = {
    "variant": "ViT-B_16", "patch_size": 8, "hidden_size": 24, "mlp_dim": 32, "num_heads": 2,
    "num_layers": 2, "decoder_channels": [16, 16, 16, 8, 8],
}  # fmt: skip
WITHOUT = {"block_units": [1, 1, 1], "width_factor": 0.25, "decoder_channels": [16, 16, 16, 8, 8]}


def write(folder, network, arguments, size=(32, 48)):
    torch.manual_seed(0)
    arguments = {"in_channels": 1, "num_classes": 3} | arguments
    spec = ModelSpec(
        network={"_target_": f"{network.__module__}.{network.__name__}"} | arguments,
        labels={"liver": 1, "spleen": 2},
        preprocessing=Preprocessing(window=(0, 100)),
        geometry=SliceGeometry(image_size=size),
    )
    made = network(**arguments)
    with torch.no_grad():
        made.head.bias.copy_(torch.tensor([0.0, 0.5, -9.0]))  # some liver, no spleen
    write_model(folder / "model", spec, made, {})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write(folder, TransUNet, SMALL | {"image_size": [32, 48]})


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "ct.nii.gz"
    array = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16)
    write_volume(path, Volume(array, LPS))
    return path


def test_a_map_lies_on_the_grid_of_the_image_in_the_slice_that_was_asked_for(
    model, image, tmp_path
):
    request = Request("liver", methods=("tiba", "grad_cam"), slice_index=1)
    record = explain(model, image, tmp_path, request=request)
    assert record["slices"] == [1]
    for method in ("tiba", "grad_cam"):
        found = read_volume(tmp_path / f"ct_liver_{method}.nii.gz")
        assert found.array.shape == SHAPE
        np.testing.assert_allclose(found.affine, LPS)
        assert found.array[:, :, 1].any()
        assert not np.delete(found.array, 1, axis=2).any()
        with np.load(tmp_path / f"ct_liver_{method}.npz") as arrays:
            assert arrays["maps"].shape == (1, 32, 48)
            assert arrays["prepared_slices"].tolist() == [4]  # counted from the feet
    assert (tmp_path / "ct_liver.png").stat().st_size > 1000
    assert json.loads((tmp_path / "ct_liver.json").read_text()) == record


def test_a_whole_volume_has_a_map_in_every_slice_of_the_organ(model, image, tmp_path):
    request = Request("liver", methods=("rollout",), whole_volume=True)
    record = explain(model, image, tmp_path, request=request, batch_size=4)
    found = read_volume(tmp_path / "ct_liver_rollout.nii.gz").array
    assert found.any(axis=(0, 1)).nonzero()[0].tolist() == record["slices"]
    one = explain(model, image, tmp_path / "one", request=Request("liver", methods=("rollout",)))
    alone = read_volume(tmp_path / "one" / "ct_liver_rollout.nii.gz").array
    index = one["shown_slice"]
    np.testing.assert_allclose(found[:, :, index], alone[:, :, index], rtol=1e-4, atol=1e-9)


def test_a_region_and_a_voxel_are_found_where_the_file_has_them(model, image):
    scan = Scan(read_model(model / "model"), read_volume(image), torch.device("cpu"))
    region = np.zeros(SHAPE, dtype=bool)
    region[10:20, 30:40, 2] = True
    masks = scan.masks_of(region)
    assert masks.any(axis=(1, 2)).nonzero()[0].tolist() == [3]  # third slice from the head of six
    native = scan.onto_native({3: torch.from_numpy(masks[3]).float()}).array
    overlap = (native > 0.5) & region
    assert 2 * overlap.sum() / ((native > 0.5).sum() + region.sum()) > 0.85
    index, pixel = scan.pixel_of((15, 35, 2))
    assert index == 3
    assert int(pixel.sum()) == 1
    assert masks[3][pixel[0].numpy()].all()
    near = scan.onto_native({index: pixel[0].float()}).array
    peak = np.unravel_index(near.argmax(), near.shape)
    assert np.abs(np.subtract(peak, (15, 35, 2))).max() <= 1


def test_a_voxel_a_region_and_a_difference_are_explained(model, image, tmp_path):
    path = tmp_path / "region.nii.gz"
    region = np.zeros(SHAPE, dtype=np.uint8)
    region[10:20, 30:40, 2] = 1
    write_volume(path, Volume(region, LPS))
    for name, request in {
        "region": Request("liver", region=path),
        "voxel": Request("liver", voxel=(15, 35, 2)),
        "against": Request("liver", against="spleen", methods=("gradient_rollout",)),
        "background": Request("background", region=path, methods=("attention_gradient",)),
    }.items():
        record = explain(model, image, tmp_path / name, request=request)
        assert record["methods"], name
    assert explain(
        model, image, tmp_path / "a", request=Request("liver", region=path)
    )["slices"] == [2]  # fmt: skip


def test_views_are_drawn(model, image, tmp_path):
    record = explain(model, image, tmp_path, request=Request("liver", methods=("raw",), views=True))
    kinds = [name.rpartition("_")[2] for name in record["views"]]
    assert kinds == ["heads.png", "distance.png", "tokens.png", "positions.png", "filters.png"]
    assert all((tmp_path / name).is_file() for name in record["views"])
    page = (tmp_path / "ct_liver.html").read_text()
    for name in ("Layers and heads", "Attention distance", "Similarity of positions", "Tokens"):
        assert f"{name}</h" in page


@pytest.mark.parametrize(("request_of", "words"), [
    (lambda: Request("kidney"), "organ must be one of background, liver, spleen"),
    (lambda: Request("liver", against="kidney"), "organ must be one of"),
    (lambda: Request("spleen"), "the model finds no spleen: name another slice"),
    (lambda: Request("liver", slice_index=6), "slice must be 0 to 5 in this image, got 6"),
    (lambda: Request("liver", voxel=(0, 0, 9)), r"voxel must lie in the image's \(40, 44, 6\)"),
    (lambda: Request("liver", options=Options(layer=2)), "layer must be 0 to 1"),
    (lambda: Request("liver", methods=("raw",), options=Options(head=2)), "head must be 0 to 1"),
    (lambda: Request("liver", options=Options(head=0)), "head is heeded by raw, not by tiba"),
    (lambda: Request("liver", methods=("grad_cam",), options=Options(layer=9)), "layer is heeded"),
    (lambda: Request("liver", methods=("tiba", "grad_cam"), options=Options(module="encodr")),
     "has no module 'encodr'; the nearest are encoder"),
    (lambda: Request("liver", methods=("raw",), options=Options(heads="median")),
     "heads must be one of mean, max, min"),
    (lambda: Request("liver", against="liver"), "cannot be held against itself"),
    (lambda: Request("liver", methods=("magic",)), "method must be one of .*occlusion"),
    (lambda: Request("liver", voxel=(0, 0, 0), slice_index=1), "leave out the slice"),
    (lambda: Request("liver", whole_volume=True, slice_index=1), "not both"),
])  # fmt: skip
def test_a_bad_request_says_what_is_possible(model, image, tmp_path, request_of, words):
    with pytest.raises(UsageError, match=words):
        explain(model, image, tmp_path, request=request_of())
    assert not list(tmp_path.iterdir())


def test_a_region_of_another_grid_is_refused(model, image, tmp_path):
    path = tmp_path / "region.nii.gz"
    write_volume(path, Volume(np.ones((3, 3, 3), dtype=np.uint8), LPS))
    with pytest.raises(InputError, match=r"grid \(40, 44, 6\) of the image, got shape \(3, 3, 3\)"):
        explain(model, image, tmp_path, request=Request("liver", region=path))


def test_attention_that_does_not_fit_into_memory_is_refused(model, image, tmp_path):
    request = Request("liver", options=Options(most_bytes=1e4))
    with pytest.raises(ResourceError, match="2 layers of attention between 24 tokens take"):
        explain(model, image, tmp_path, request=request)


def test_the_command_writes_a_record_and_ends_with_one_line_on_a_bad_request(
    model, image, tmp_path, capsys
):
    common = ["explain", str(model), "-i", str(image), "-o", str(tmp_path), "--no-progress"]
    assert run([*common, "--organ", "liver", "--method", "rollout", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["methods"]) == ["rollout"]
    assert run([*common, "--organ", "kidney"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run([*common, "--organ", "liver", "--voxel", "1,2"]) == 2
    assert run([*common, "--organ", "liver", "--slice", "top"]) == 2
    assert run([*common, "--organ", "liver", "--max-memory", "0.00001"]) == 5
    compared = [*common, "--organ", "liver", "--compare", "--slice", "1"]
    assert run(compared) == 2
    assert "leave out --against, --slice" in capsys.readouterr().err


def test_the_page_is_written_beside_the_picture_unless_it_is_not_wanted(
    model, image, tmp_path, capsys
):
    common = ["explain", str(model), "-i", str(image), "--organ", "liver", "--no-progress"]
    assert run([*common, "-o", str(tmp_path / "a"), "--method", "all", "--slice", "all"]) == 0
    assert f"Page: {tmp_path / 'a' / 'ct_liver.html'}" in capsys.readouterr().err
    text = (tmp_path / "a" / "ct_liver.html").read_text()
    assert all(f"Map by {name}" in text for name in method_names())
    record = json.loads((tmp_path / "a" / "ct_liver.json").read_text())
    assert record["page"] == "ct_liver.html"
    assert text.count('"grey":') == len(record["slices"]) == 6
    assert run([*common, "-o", str(tmp_path / "a"), "--no-page", "--method", "random"]) == 0
    assert not list((tmp_path / "a").glob("*.html"))  # that of another request would mislead


def test_a_model_without_attention_names_the_methods_that_explain_it(image, tmp_path):
    folder = write(tmp_path / "run", R50UNet, WITHOUT)
    with pytest.raises(UsageError, match="R50UNet has no attention"):
        explain(folder, image, tmp_path / "out", request=Request("liver"))
    assert not (tmp_path / "out").exists()
    request = Request("liver", methods=("grad_cam",), views=True)
    record = explain(folder, image, tmp_path / "out", request=request)
    assert record["methods"]
    assert record["views"] == ["ct_liver_skips.png"]  # of attention there is nothing to see
    assert len(record["skips"]) == 4
