"""A bundle as MONAI's own checks and the model zoo's rules want it."""

import json
import re
import shutil
import subprocess
import sys

import nibabel as nib
import pytest
import yaml
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out

from medseg.errors import DiskFullError
from medseg.export.bundle import list_large, write_bundle
from medseg.export.cases import made_up_cases
from medseg.files import sha256
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.model import read_model
from medseg.volumes import read_volume, write_label_map
from tests.export.models import SPECS, write

FILES = {
    "LICENSE",
    "configs/metadata.json",
    "configs/inference.json",
    "configs/evaluate.json",
    "configs/train.json",
    "configs/multi_gpu_train.json",
    "configs/logging.conf",
    "configs/medseg.json",
    "docs/README.md",
    "docs/data_license.txt",
    "models/model.pt",
    "models/model.ts",
}
SCHEMA = "tests/reference/bundle_metadata_schema.json"


@pytest.fixture(scope="module", params=SPECS)
def bundle(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    model = read_model(write(folder, request.param))
    write_bundle(model, folder / "bundle", {"authors": "A. Nybody"})
    return folder / "bundle"


def with_data(bundle, count):
    """Images, and as labels what the model gives for them."""
    data = bundle / "data"
    model = read_model(bundle.parent / "model")
    images = made_up_cases(model.spec, data / "images")
    for image in images[count:]:
        image.unlink()
    with Predictor(model, PredictSettings(precision="float32")) as predictor:
        for image in images[:count]:
            write_label_map(data / "labels" / image.name, predictor(read_volume(image)))
    return data


def monai(bundle, *arguments, processes=1):
    start = ["-m", "monai.bundle"]
    if processes > 1:
        start = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", *start]
    done = subprocess.run(
        [sys.executable, *start, "run", *arguments], cwd=bundle, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_it_has_the_zoos_files_and_names(bundle):
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == FILES
    assert all((bundle / name).stat().st_size < 25 << 20 for name in files)


def test_files_above_the_zoos_limit_are_listed_with_their_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["medseg.export.bundle"], "LARGE", 2000)
    model = read_model(write(tmp_path, "U-Net"))
    write_bundle(model, tmp_path / "bundle", {})
    list_large(tmp_path / "bundle")
    listed = yaml.safe_load((tmp_path / "bundle" / "large_files.yml").read_text())["large_files"]
    assert {"models/model.pt", "models/model.ts"} <= {one["path"] for one in listed}
    for one in listed:
        assert one["hash_val"] == sha256(tmp_path / "bundle" / one["path"])


def test_its_texts_name_no_folder_of_this_machine_and_are_indented_by_four(bundle):
    for path in [*bundle.glob("configs/*.json"), *bundle.glob("docs/*")]:
        text = path.read_text()
        assert not re.search(r"/home/|/root/|/tmp/|/Users/", text), path
        if path.suffix == ".json":
            assert text == json.dumps(json.loads(text), indent=4, ensure_ascii=False) + "\n"


def test_its_version_is_in_its_changelog(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata["authors"] == "A. Nybody"


def test_monai_finds_metadata_and_shapes_in_order(bundle, tmp_path):
    schema = tmp_path / "schema.json"
    shutil.copyfile(SCHEMA, schema)
    verify_metadata(
        meta_file=str(bundle / "configs/metadata.json"), filepath=str(schema),
        hash_val=sha256(schema), hash_type="sha256",
    )  # fmt: skip
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs/metadata.json"),
        config_file=str(bundle / "configs/inference.json"),
        bundle_root=str(bundle),
    )


@pytest.mark.filterwarnings("ignore:NvImgCodec")  # MONAI looks for every reader there might be
@pytest.mark.parametrize(("config", "kind"), [("inference", "infer"), ("train", "train")])
def test_monai_misses_no_property(bundle, config, kind, monkeypatch, tmp_path):
    monkeypatch.chdir(bundle)
    for folder in ("images", "labels"):
        made_up_cases(SPECS["U-Net"], tmp_path / folder)
    workflow = ConfigWorkflow(
        config_file=str(bundle / f"configs/{config}.json"), logging_file=False, workflow_type=kind,
        dataset_dir=str(tmp_path), initialize=[],
    )  # fmt: skip
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["U-Net", "TransUNet", "TransUNet3D"], indirect=True)
def test_it_evaluates_trains_and_trains_on_two_processes(bundle):
    with_data(bundle, 10)
    both = "['configs/inference.json','configs/evaluate.json']"
    monai(bundle, "--config_file", both)
    scores = (bundle / "eval" / "mean_dice_raw.csv").read_text().splitlines()
    assert len(scores) == 11
    # the labels are the model's own; nearest and linear ways back are the same there
    assert float(scores[1].split(",")[-1]) > 0.99
    said = monai(bundle, "--config_file", "configs/train.json", "--epochs", "2")
    assert said.count("train_loss:") >= 2
    assert (bundle / "models" / "model_last.pt").is_file()
    both = "['configs/train.json','configs/multi_gpu_train.json']"
    said = monai(bundle, "--config_file", both, "--epochs", "1", processes=2)
    assert "val_mean_dice" in said
    assert nib.load(next((bundle / "data/images").iterdir())).ndim == 3


def test_a_network_that_cannot_be_traced_has_no_torchscript_but_a_full_disk_is_said(
    tmp_path, monkeypatch
):
    networks = sys.modules["medseg.export.networks"]
    model = read_model(write(tmp_path, "U-Net"))

    def raising(error):
        def trace(*_):
            raise error

        monkeypatch.setitem(networks._WRITERS, "torchscript", trace)

    raising(RuntimeError("control flow"))
    write_bundle(model, tmp_path / "untraced", {})
    assert not (tmp_path / "untraced" / "models" / "model.ts").exists()
    raising(DiskFullError("full"))
    with pytest.raises(DiskFullError):
        write_bundle(model, tmp_path / "full", {})
