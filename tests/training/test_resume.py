import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medseg.errors import ModelError, StoppedError, UsageError
from medseg.files import atomic_path, read_json
from medseg.model import read_model
from medseg.training import epoch_end, precision
from medseg.training.checkpoints import read_checkpoint
from tests.training.killed import ARGUMENTS, MOMENTS
from tests.training.small import CONVOLUTION, UNET, fit, same, weights

ROOT = Path(__file__).parents[2]
THREE = {"network": UNET, "max_epochs": 3, "ema_decay": 0.9, "clip_norm": 1.0}


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    monkeypatch.setattr(epoch_end, "write_figures", lambda *_: None)  # they take longest here


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("uninterrupted"), **THREE)


def stop_at(task, number):
    def progress(name, done, total, note=""):
        if (name, done) == (task, number):
            raise KeyboardInterrupt

    return progress


def signal_at(number, name):
    def progress(task, done, total, note=""):
        if (task, done) == ("Training", number):
            os.kill(os.getpid(), name)

    return progress


def table(run, name="history.csv"):
    with (run / name).open() as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_equal_runs(one, other):
    first, second = (read_checkpoint(run / "checkpoints" / "last.pt") for run in (one, other))
    for part in ("network", "average"):
        assert same(first[part], second[part])
    for index, state in first["optimizer"]["state"].items():
        assert same(state, second["optimizer"]["state"][index])
    for name in ("history.csv", "iterations.csv"):
        assert table(one, name) == table(other, name)
    models = [read_model(run / "model") for run in (one, other)]
    assert same(*(model.network.state_dict() for model in models))
    assert models[0].provenance["epoch"] == models[1].provenance["epoch"]


def test_resumed_between_epochs_it_equals_the_uninterrupted_run(tmp_path, uninterrupted):
    with pytest.raises(StoppedError, match=r"iteration 4 of 12; .*last.pt .* --resume"):
        fit(tmp_path, **THREE, progress=stop_at("Training", 4))
    assert_equal_runs(fit(tmp_path, **THREE, resume=True), uninterrupted)


def test_resumed_within_an_epoch_it_equals_the_uninterrupted_run(tmp_path, uninterrupted):
    with pytest.raises(StoppedError, match="iteration 6 of 12"):
        fit(tmp_path, **THREE, progress=stop_at("Training", 6))
    with pytest.raises(StoppedError, match="iteration 7 of 12"):
        fit(tmp_path, **THREE, progress=stop_at("Training", 7), resume=True)
    assert_equal_runs(fit(tmp_path, **THREE, resume=True), uninterrupted)


def test_resumed_within_a_validation_it_equals_the_uninterrupted_run(tmp_path, uninterrupted):
    with pytest.raises(StoppedError, match="iteration 4 of 12"):
        fit(tmp_path, **THREE, progress=stop_at("Validating", 1))
    assert not table(tmp_path / "run")
    assert_equal_runs(fit(tmp_path, **THREE, resume=True), uninterrupted)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_iteration_and_loses_nothing(tmp_path, uninterrupted, name):
    before = signal.getsignal(name)
    with pytest.raises(StoppedError, match="iteration 5 of 12"):
        fit(tmp_path, **THREE, progress=signal_at(5, name))
    assert signal.getsignal(name) is before
    assert_equal_runs(fit(tmp_path, **THREE, resume=True), uninterrupted)


def test_a_run_stopped_in_its_last_validation_is_finished_by_resume(tmp_path, uninterrupted):
    calls = []

    def progress(task, done, total, note=""):
        calls.extend([1] * (task == "Validating"))
        if len(calls) == 8:
            raise KeyboardInterrupt

    with pytest.raises(StoppedError, match="iteration 12 of 12"):
        fit(tmp_path, **THREE, progress=progress)
    assert_equal_runs(fit(tmp_path, **THREE, resume=True), uninterrupted)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    run = fit(tmp_path)
    before = weights(run)
    history = (run / "history.csv").read_text()
    fit(tmp_path, resume=True)
    assert same(before, weights(run))
    assert (run / "history.csv").read_text() == history


def test_a_run_that_lost_patience_stays_stopped(tmp_path):
    settings = {"max_epochs": 9, "patience": 1, "rate": 1e-12}
    assert len(table(fit(tmp_path, **settings))) == 2
    assert len(table(fit(tmp_path, **settings, resume=True))) == 2


def test_a_finished_run_can_be_made_longer(tmp_path):
    fit(tmp_path, max_iterations=6)  # its second epoch is a short one
    run = fit(tmp_path, max_iterations=12, resume=True)
    assert [row["iteration"] for row in table(run)] == ["4", "8", "12"]


def test_a_lower_rate_set_for_the_resumed_part_is_used(tmp_path):
    fit(tmp_path, max_epochs=1, rate=0.1)
    run = fit(tmp_path, max_epochs=2, rate=0.001, resume=True)
    rates = [float(row["lr"]) for row in table(run, "iterations.csv")]
    assert rates[0] == 0.1
    assert max(rates[4:]) < 0.001


def test_what_auto_precision_was_it_stays(tmp_path, monkeypatch):
    for bfloat16_pays, resume in ((True, False), (False, True)):
        monkeypatch.setattr(precision, "bfloat16_pays", lambda answer=bfloat16_pays: answer)
        run = fit(tmp_path, max_epochs=1 + resume, precision="auto", resume=resume)
    assert read_checkpoint(run / "checkpoints" / "last.pt")["precision"] == "bfloat16"


def test_resume_without_a_run_starts_one(tmp_path):
    assert len(table(fit(tmp_path, resume=True))) == 2


def test_resume_without_the_last_checkpoint_goes_on_from_the_best(tmp_path, uninterrupted):
    run = fit(tmp_path, **THREE)
    (run / "checkpoints" / "last.pt").unlink()
    assert_equal_runs(fit(tmp_path, **THREE, resume=True), uninterrupted)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def replace_by_text(path):
    path.write_text("no checkpoint")


def replace_by_code(path):
    with atomic_path(path) as temporary:
        torch.save({"format": Path}, temporary)


def replace_by_another(path):
    torch.save({"format": 1}, path)


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, replace_by_text, replace_by_code, replace_by_another]
)
def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path, damage):
    run = fit(tmp_path, max_epochs=1)
    damage(run / "checkpoints" / "last.pt")
    with pytest.raises(ModelError, match=r"last\.pt: expected a checkpoint, got a damaged") as info:
        fit(tmp_path, resume=True)
    assert "\n" not in str(info.value)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    fit(tmp_path, max_epochs=1)
    with pytest.raises(ModelError, match=r"last\.pt: expected a checkpoint of this network"):
        fit(tmp_path, network=CONVOLUTION | {"kernel_size": 5, "padding": 2}, resume=True)


def test_a_loader_of_another_length_is_refused(tmp_path, monkeypatch):
    fit(tmp_path, max_epochs=1)
    monkeypatch.setattr("tests.training.small.BATCH", 8)
    with pytest.raises(UsageError, match="expected 4 iterations per epoch as before, got 2"):
        fit(tmp_path, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_it_equals_the_uninterrupted_run(tmp_path, moment):
    command = [sys.executable, "-m", "tests.training.killed", str(tmp_path), moment]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    run = tmp_path / "run"
    for path in run.rglob("*.pt"):
        if not path.name.startswith(".tmp-"):
            read_checkpoint(path)
    if moment != "in_the_model":  # two files cannot be replaced at once: mended by resume
        read_model(run / "model")
    read_json(run / "model" / "model.json")
    assert len(table(run)) == len({row["epoch"] for row in table(run)})

    resumed = fit(tmp_path, **ARGUMENTS, resume=True)
    assert not list(run.rglob(".tmp-*"))
    assert_equal_runs(resumed, fit(tmp_path, **ARGUMENTS, out_dir=tmp_path / "other"))
