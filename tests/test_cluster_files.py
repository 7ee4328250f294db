"""The files of docs/cluster, run as SLURM would run them: its variables set, srun stood in for."""

import csv
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from medseg.datasets import phantom
from medseg.export.bundle import write_bundle
from medseg.export.cases import made_up_cases
from medseg.files import read_json
from medseg.model import read_model
from medseg.volumes import Volume, read_volume, write_label_map, write_volume
from tests.export.models import SPECS, write
from tests.inference.small import truth, write_images, write_threshold_model
from tests.jobs.processes import ROOT, environment, wait_for

FILES = ROOT / "docs/cluster"
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
pids=() code=0
for _ in $(seq "${SLURM_NTASKS:-1}"); do "$@" & pids+=($!); echo $! > pid; done
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit "$code"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo localhost; else echo "$@" >> asked; fi
"""
TINY = [
    "image_size=[32,32]",
    "network::features=[4,4,4,4,4,4]",
    "train_loader::batch_size=2",
    "train_loader::batches_per_epoch=8",
    "train_loader::seed={}",
    "settings::max_epochs=12",
    "settings::device=cpu",
    "settings::precision=float32",
    "settings::validate_every=12",
]


@pytest.fixture
def place(tmp_path):
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def settings(place, slurm):
    known = environment()
    return known | {
        "PATH": f"{place / 'bin'}:{known['PATH']}",
        "MEDSEG": f"{sys.executable} -m medseg",
        "TORCHRUN": f"{sys.executable} -m torch.distributed.run",
        "MEDSEG_STORE": str(place / "store"),
        **{f"SLURM_{name}": str(value) for name, value in slurm.items()},
    }


def submit(place, file, *arguments, code=0, **slurm):
    done = subprocess.run(
        ["bash", FILES / file, *map(str, arguments)],
        cwd=place, env=settings(place, slurm), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout + done.stderr


def submit_array(place, file, *arguments, ids):
    array = {"ARRAY_TASK_MIN": ids[0], "ARRAY_TASK_MAX": ids[-1], "ARRAY_TASK_COUNT": len(ids)}
    for number in ids:
        submit(place, file, *arguments, ARRAY_TASK_ID=number, **array)


def scans(place, count):
    write_images(place / "scans", count)
    for number in range(count):
        array = truth(number).astype(np.uint8)
        volume = Volume(array, np.diag([0.8, 0.8, 3.0, 1.0]))
        write_volume(place / "truth" / f"case_{number:03d}.nii.gz", volume)
    return write_threshold_model(place / "model")


@pytest.mark.parametrize("file", sorted(FILES.glob("*.sbatch")), ids=lambda file: file.stem)
def test_bash_can_read_it_and_without_arguments_it_says_what_it_wants(file, place):
    subprocess.run(["bash", "-n", file], check=True)
    assert submit(place, file, code=2).startswith("wanted: ")
    lines = file.read_text().splitlines()
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives == list(range(1, len(directives) + 1))  # SLURM stops at the first command


@pytest.mark.parametrize("file", ["predict.sbatch", "evaluate.sbatch"])
def test_an_array_with_gaps_is_refused_as_its_parts_would_not_be_all(file, place):
    array = {"ARRAY_TASK_ID": 3, "ARRAY_TASK_MIN": 3, "ARRAY_TASK_MAX": 7, "ARRAY_TASK_COUNT": 2}
    assert "without gaps" in submit(place, file, "a", "b", "c", code=2, **array)


@pytest.mark.parametrize("page", ["README.md", "docs/cluster.md", "docs/container.md"])
def test_every_file_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text()
    named = set(re.findall(r"\b(?:docs|docker)/[\w./]*\w", text))
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [name for name in linked if not (ROOT / page).parent.joinpath(name).exists()]
    assert missing == []


@pytest.mark.slow
def test_parts_of_an_array_predict_all_and_their_figures_are_merged(place):
    model = scans(place, 5)
    submit_array(place, "predict.sbatch", "scans", "out", model, "--format", "nii", ids=[1, 2])
    predicted = read_json(place / "out/predictions.json")
    assert [case["status"] for case in predicted["cases"]] == ["done"] * 5
    for number in range(5):
        found = read_volume(place / "out" / f"case_{number:03d}.nii").array
        np.testing.assert_array_equal(found, truth(number))
    scoring = ["out", "truth", "results", "--organs", "bone=7", "--metrics", "dsc"]
    submit_array(place, "evaluate.sbatch", *scoring, ids=[0, 1])
    assert not (place / "results/results.json").exists()
    submit(place, "evaluate.sbatch", *scoring)
    results = read_json(place / "results/results.json")
    assert [case["organs"]["bone"]["dsc"] for case in results["cases"]] == [1.0] * 5


@pytest.mark.slow
def test_tasks_of_one_job_share_the_cases(place):
    submit(place, "predict.sbatch", "scans", "out", scans(place, 5), NTASKS=2)
    predicted = read_json(place / "out/predictions.json")
    assert [case["status"] for case in predicted["cases"]] == ["done"] * 5


@pytest.mark.slow
def test_a_training_that_hears_sigterm_is_put_back_into_the_queue_and_goes_on(place):
    phantom.write(place / "data", counts={"train": 2, "val": 1, "test": 1}, size=(32, 32, 12))
    command = ["bash", FILES / "train.sbatch", "phantom_unet", "runs", "data=data", *TINY]
    known = settings(place, {"ARRAY_TASK_ID": 3, "ARRAY_JOB_ID": 40, "JOB_ID": 42})
    history = place / "runs/run_3/history.csv"
    job = subprocess.Popen(command, cwd=place, env=known, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: history.exists() and len(history.read_text().splitlines()) > 2)
    os.kill(int((place / "pid").read_text()), signal.SIGTERM)
    said = job.communicate(timeout=60)[1]
    assert job.returncode == 130, said
    assert "go on with --resume" in said
    assert (place / "asked").read_text() == "requeue 40_3\n"

    assert subprocess.run(command, cwd=place, env=known, check=False).returncode == 0
    with history.open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 13))
    assert (place / "asked").read_text() == "requeue 40_3\n"  # not again
    assert read_json(place / "runs/run_3/model/model.json")["provenance"]["seed"] == 3


@pytest.mark.slow
def test_a_bundle_trains_on_two_processes(place):
    write_bundle(read_model(write(place, "U-Net")), place / "bundle", {})
    data = place / "bundle/data"
    for image in made_up_cases(SPECS["U-Net"], data / "images"):
        volume = read_volume(image)
        labels = np.where(volume.array > volume.array.mean(), 7, 0).astype(np.uint8)
        write_label_map(data / "labels" / image.name, Volume(labels, volume.affine))
    said = submit(
        place, "train_bundle.sbatch", "bundle", "--epochs", "1",
        JOB_NUM_NODES=1, JOB_ID=4711, JOB_NODELIST="localhost", GPUS_ON_NODE=2,
    )  # fmt: skip
    assert "val_mean_dice" in said
    assert (place / "bundle/models/model_last.pt").is_file()


@pytest.mark.slow
def test_a_dask_cluster_is_started_and_works(place):
    scans(place, 5)
    job = ["evaluate", "-i", "truth", "-l", "truth", "-o", "results", "--organs", "bone=7"]
    command = [sys.executable, FILES / "on_dask.py", "--local", "--workers", "2", "--", *job]
    done = subprocess.run(
        command, cwd=place, env=settings(place, {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = read_json(place / "results/results.json")
    assert [case["organs"]["bone"]["dsc"] for case in results["cases"]] == [1.0] * 5
