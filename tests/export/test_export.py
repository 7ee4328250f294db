"""Exports are run again in processes of their own, which is what takes the time here."""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.cli import run
from medseg.errors import ModelError, UsageError
from medseg.export.bundle import write_bundle
from medseg.export.cases import grids_of, made_up_cases
from medseg.export.chain import needs_medseg
from medseg.export.export import export, verify
from medseg.export.proof import agreement, certify, check_files, files_of_export
from medseg.export.trust import check_trusted
from medseg.files import sha256
from medseg.inference.bundle_transforms import StackSlicesd
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, build_network, read_model, write_model
from medseg.volumes import read_volume
from tests.export.models import LABELS, SPECS, UNET, write

# the script around the network is the same for every format
NETWORK_FILES = [
    *(("onnx", name) for name in SPECS),
    *(("torch-export", name) for name in ("TransUNet", "TransUNet3D")),
    *(("torchscript", name) for name in ("TransUNet", "TransUNet3D")),
]


def read_json(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    export(write(folder, "U-Net"), folder / "unet")
    return folder / "unet"


@pytest.mark.parametrize("name", ["U-Net", "U-Net, zoomed, percentiles", "3D U-Net"])
def test_made_up_volumes_lie_on_the_grids_they_name(tmp_path, name):
    spec = SPECS[name]
    for path, (code, shape, spacing) in zip(
        made_up_cases(spec, tmp_path), grids_of(spec), strict=True
    ):
        image = nib.load(path)
        assert "".join(nib.aff2axcodes(image.affine)) == code
        assert image.shape == shape
        np.testing.assert_allclose(image.header.get_zooms(), spacing, rtol=1e-5)
        assert np.ptp(np.asarray(image.dataobj)) > 200


def test_made_up_ct_shows_the_body_upright_on_every_grid(tmp_path):
    for path in made_up_cases(SPECS["U-Net"], tmp_path):
        image = nib.as_closest_canonical(nib.load(path))
        body = np.asarray(image.dataobj) > -300
        spine = np.asarray(image.dataobj) > 300
        assert 0.2 < body.mean() < 0.9
        # the spine lies behind the middle of the body, and neither left nor right of it
        found, middle = np.argwhere(spine).mean(axis=0), np.argwhere(body).mean(axis=0)
        assert found[1] < middle[1]
        assert abs(found[0] - middle[0]) < 0.1 * image.shape[0]


def test_the_certificate_tells_the_lowest_dsc_of_an_organ_and_how_much_was_seen():
    row = {"case": "a", "voxels": 10, "different_voxels": 1, "organ_voxels": 4}
    other = {**row, "dsc": {"liver": 1.0, "spleen": None}, "different_voxels": 0}
    found = agreement([{**row, "dsc": {"liver": 0.5}}, other])
    assert found == {"equal_voxels": 0.95, "organ_voxels": 8, "lowest_organ_dsc": 0.5}
    assert agreement([{**other, "dsc": {"liver": None}}])["lowest_organ_dsc"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_a_bundle_gives_the_label_maps_of_its_model_on_ten_grids(tmp_path, name):
    certificate = export(write(tmp_path, name), tmp_path / "bundle")
    assert certificate["equal_voxels"] >= 0.9999
    assert len(certificate["cases"]) == 10
    assert certificate["organ_voxels"] > 1000
    assert read_json(tmp_path / "bundle" / "certificate.json") == certificate


@pytest.mark.slow
@pytest.mark.parametrize(("format", "name"), NETWORK_FILES)
def test_a_network_file_gives_the_label_maps_of_its_model_on_ten_grids(tmp_path, format, name):
    pytest.importorskip("onnxruntime")
    certificate = export(write(tmp_path, name), tmp_path / "out", format=format)
    assert certificate["equal_voxels"] >= 0.9999
    assert certificate["largest_logit_difference"] <= 1e-3 * certificate["largest_logit"]


@pytest.mark.slow
def test_a_bundle_of_monais_network_names_nothing_of_medseg(bundle):
    configs = [read_json(path) for path in (bundle / "configs").glob("*.json")]
    assert len(configs) == 6
    assert not needs_medseg(configs)
    required = read_json(bundle / "configs/metadata.json")["required_packages_version"]
    assert "medseg" not in required


@pytest.mark.slow
def test_verify_runs_an_export_again_and_finds_a_changed_file(bundle, tmp_path):
    assert verify(bundle)["equal_voxels"] >= 0.9999
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    path = other / "configs" / "inference.json"
    path.write_text(path.read_text().replace("0.0", "0.5"))
    with pytest.raises(ModelError, match=r"inference\.json.*another content"):
        verify(other)
    (other / "LICENSE").unlink()
    path.write_text((bundle / "configs" / "inference.json").read_text())
    with pytest.raises(ModelError, match="LICENSE"):
        verify(other)


@pytest.mark.slow
def test_an_export_that_differs_from_its_model_does_not_stand(tmp_path, monkeypatch):
    from medseg.export import bundle as bundles

    model = write(tmp_path, "U-Net")
    plain = bundles.inference_config

    def wrong(spec, channels):
        config = plain(spec, channels)
        config["preprocessing"]["transforms"][2]["a_max"] = 100.0
        return config

    monkeypatch.setattr(bundles, "inference_config", wrong)
    with pytest.raises(ModelError, match=r"99\.99%"):
        export(model, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_an_export_is_proved_on_given_images_without_keeping_or_showing_them(tmp_path):
    pytest.importorskip("fire")
    images = made_up_cases(SPECS["U-Net"], tmp_path / "images")[:2]
    certificate = export(write(tmp_path, "U-Net"), tmp_path / "out", images=images)
    assert len(certificate["cases"]) == 2
    assert not (tmp_path / "out" / "proof" / "images").exists()
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.slow
def test_the_script_of_an_export_runs_where_there_is_neither_torch_nor_monai(tmp_path):
    pytest.importorskip("onnxruntime")
    model = write(tmp_path, "U-Net")
    (image,) = made_up_cases(SPECS["U-Net"], tmp_path / "images")[3:4]
    export(model, tmp_path / "out", format="onnx", images=[image])
    blocked = (
        "import sys; sys.modules.update(torch=None, monai=None, medseg=None); "
        f"sys.argv = ['run.py', {str(image)!r}, '-o', {str(tmp_path / 'found')!r}]; "
        "import runpy; runpy.run_path('run.py', run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", blocked], cwd=tmp_path / "out", check=True)
    with Predictor(read_model(model), PredictSettings(precision="float32")) as predictor:
        wanted = predictor(read_volume(image)).array
    found = read_volume(tmp_path / "found" / image.name, "label").array
    assert (found == wanted).mean() > 0.9999


@pytest.mark.slow
def test_the_script_names_an_image_it_cannot_read_and_does_the_others(tmp_path):
    pytest.importorskip("onnxruntime")
    good, bad = made_up_cases(SPECS["U-Net"], tmp_path / "images")[:2]
    export(write(tmp_path, "U-Net"), tmp_path / "out", format="onnx", images=[good])
    bad.write_bytes(bad.read_bytes()[:500])
    done = subprocess.run(
        [sys.executable, "run.py", str(bad), str(good), "-o", str(tmp_path / "found")],
        cwd=tmp_path / "out", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert bad.name in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "found").iterdir()] == [good.name]


def test_a_model_of_exposures_is_refused(tmp_path):
    sky = Preprocessing(window=None, sky=(-3.0, 10.0))
    spec = ModelSpec(UNET, {"cosmic ray": 1}, sky, SliceGeometry((32, 32)))
    write_model(tmp_path / "model", spec, build_network(spec.network), {})
    with pytest.raises(UsageError, match="model of volumes, got one of exposures"):
        export(tmp_path / "model", tmp_path / "bundle")


def test_slices_get_their_neighbours_as_channels_and_the_ends_are_repeated():
    image = torch.arange(4.0).expand(1, 2, 2, 4)  # each slice holds its own number
    stacked = StackSlicesd("image", neighbours=2)({"image": image})["image"]
    assert stacked.shape == (5, 2, 2, 4)
    assert stacked[:, 0, 0].T.tolist() == [
        [0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3],
    ]  # fmt: skip


def test_wrong_requests_end_with_a_line_and_their_exit_code(tmp_path, capsys):
    model = write(tmp_path, "U-Net")
    assert run(["export", str(model), "-o", str(tmp_path / "x"), "--format", "keras"]) == 2
    assert "bundle, onnx" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "none"), "-o", str(tmp_path / "x")]) == 6
    assert run(["verify", str(tmp_path)]) == 6
    (tmp_path / "x").mkdir()
    assert run(["export", str(model), "-o", str(tmp_path / "x")]) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_of_a_bundle_are_a_plain_state_dict(bundle):
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())


@pytest.fixture(scope="module")
def unproved(tmp_path_factory):
    """A bundle with a certificate of its files alone, to be altered."""
    folder = tmp_path_factory.mktemp("unproved") / "bundle"
    model = read_model(write(folder.parent, "U-Net"))
    write_bundle(model, folder, {})
    row = {"case": "a", "voxels": 1, "different_voxels": 0, "organ_voxels": 0}
    certify(folder, "bundle", [row], (0.0, 1.0), {"labels": LABELS})
    return folder


def altered(unproved, tmp_path, change):
    """A copy with a change, its certificate made to fit."""
    folder = tmp_path / "bundle"
    shutil.copytree(unproved, folder)
    change(folder)
    certificate = read_json(folder / "certificate.json")
    certificate["files"] = {name: sha256(folder / name) for name in files_of_export(folder)}
    (folder / "certificate.json").write_text(json.dumps(certificate))
    return folder


def put(folder, name, old, new):
    path = folder / "configs" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


HARMFUL = {
    "expression": lambda f: put(
        f, "inference.json", "$@evaluator.run()", "$__import__('os').system('touch ran')"
    ),
    "target": lambda f: put(f, "inference.json", '"SliceInferer"', '"os.system"'),
    "network": lambda f: (
        put(f, "inference.json", "monai.networks.nets.UNet", "os.system"),
        put(f, "medseg.json", "monai.networks.nets.UNet", "os.system"),
    ),
    "argument": lambda f: (
        put(f, "inference.json", '"num_res_units": 1', '"num_res_units": "$exit()"'),
        put(f, "medseg.json", '"num_res_units": 1', '"num_res_units": "$exit()"'),
    ),
    "logging": lambda f: put(f, "logging.conf", "(sys.stdout,)", "(exit(),)"),
    "module": lambda f: (f / "monai.py").write_text("open('ran', 'w')"),
    "scripts": lambda f: (
        (f / "scripts").mkdir(),
        (f / "scripts" / "__init__.py").write_text("open('ran', 'w')"),
    ),
}


@pytest.mark.parametrize("harm", HARMFUL)
def test_a_bundle_that_would_run_code_of_others_is_refused_and_runs_nothing(
    unproved, tmp_path, harm, capsys
):
    folder = altered(unproved, tmp_path, HARMFUL[harm])
    assert run(["verify", str(folder)]) == 6
    said = capsys.readouterr().err.strip()
    assert "--trust" in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.rglob("ran"))


def test_a_file_laid_beside_a_bundle_is_refused_but_for_data_and_results(unproved, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(unproved, folder)
    (folder / "eval").mkdir()
    (folder / "eval" / "a_seg.nii.gz").write_bytes(b"")
    check_trusted(folder, check_files(folder))
    (folder / "nibabel.py").write_text("")
    with pytest.raises(ModelError, match=r"nibabel\.py"):
        check_trusted(folder, check_files(folder))


def test_a_certificate_cannot_name_files_outside_its_export(unproved, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(unproved, folder)
    certificate = read_json(folder / "certificate.json")
    certificate["files"]["../secret"] = "0"
    (folder / "certificate.json").write_text(json.dumps(certificate))
    with pytest.raises(ModelError, match="outside"):
        check_files(folder)


def test_an_export_with_a_script_of_others_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "run.py").write_text("print('mine')")
    with pytest.raises(ModelError, match=r"run\.py"):
        check_trusted(tmp_path, {"files": {"model.onnx": "", "run.py": ""}})
    (tmp_path / "model.onnx").rename(tmp_path / "model.pt2")
    with pytest.raises(ModelError, match="can hold code"):
        check_trusted(tmp_path, {"files": {"model.pt2": "", "run.py": ""}})
