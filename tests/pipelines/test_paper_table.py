"""The table of several networks, on a tiny phantom."""

import csv

import pytest
import yaml

from medseg.datasets import phantom
from medseg.errors import StoppedError
from medseg.shipped import shipped
from pipelines import paper_table

WIDTHS = {"hidden_size": 24, "mlp_dim": 24, "num_heads": 2, "num_layers": 1}
CONV = {"block_units": [1, 1, 1], "width_factor": 0.125, "decoder_channels": [16, 8, 8, 8, 8]}
ROWS = {"phantom_r50_unet": CONV, "phantom_segmenter": WIDTHS}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    phantom.write(folder / "data", counts={"train": 1, "val": 1, "test": 1}, size=(32, 32, 8))
    for name, sizes in ROWS.items():
        content = yaml.safe_load(shipped("configs")[name].read_text())
        content["network"] |= sizes
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def words(place, *more):
    overrides = [
        f"data={place / 'data'}", "image_size=[32,32]", "settings::max_epochs=1",
        "settings::device=cpu", "settings::precision=float32", "train_loader::batch_size=2",
        "train_loader::batches_per_epoch=2",
    ]  # fmt: skip
    configs = [str(place / f"{name}.yaml") for name in ROWS]
    return [*configs, *overrides, "-o", str(place / "out"), *more]


@pytest.fixture
def store(place, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(place / "store"))


@pytest.mark.usefixtures("store")
def test_each_config_becomes_a_row_and_is_kept_when_repeated(place):
    assert paper_table.main(words(place, "--published", "synapse")) == 0
    with (place / "out" / "table.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["network"], second["network"]) == ("R50-U-Net", "Segmenter")
    assert first["published: DSC %"] == "74.68"
    assert second["published: DSC %"] == ""
    assert 0 <= float(first["DSC %"]) <= 100
    assert (place / "out" / "table.tex").is_file()

    weights = place / "out" / "phantom_r50_unet" / "model" / "weights.safetensors"
    results = place / "out" / "phantom_r50_unet" / "results" / "results.json"
    before = [path.stat().st_mtime_ns for path in (weights, results)]
    assert paper_table.main(words(place)) == 0
    assert [path.stat().st_mtime_ns for path in (weights, results)] == before


@pytest.mark.usefixtures("store")
def test_a_row_that_fails_stops_no_other(place, capsys):
    broken = place / "broken.yaml"
    content = yaml.safe_load((place / "phantom_r50_unet.yaml").read_text())
    content["network"]["num_classes"] = 5
    broken.write_text(yaml.safe_dump(content))
    assert paper_table.main([str(broken), *words(place)]) == 4
    assert "network::num_classes" in capsys.readouterr().err
    lines = (place / "out" / "table.md").read_text().splitlines()
    assert "failed" in lines[2]
    assert len(lines) == 5
    assert "failed" not in lines[3]


def test_stopping_one_training_stops_the_table(place, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise StoppedError("stopped in iteration 1 of 2")

    monkeypatch.setattr(paper_table, "train", stop)
    assert paper_table.main(words(place)) == 130
    assert capsys.readouterr().err.count("stopped") == 1
