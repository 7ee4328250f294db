"""Folder jobs that are stopped, shared, repeated or fed with bad cases."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg import cli
from medseg.errors import DiskFullError, ResourceError, UsageError
from medseg.files import read_json, sha256
from medseg.inference import work
from medseg.inference.job import Job, Room
from medseg.inference.predict import Predictor, PredictSettings, predict
from medseg.inference.predictor import NO_LABEL
from medseg.jobs import JobSettings, Journal
from medseg.volumes import read_volume
from tests.inference.kills import label_maps
from tests.inference.small import image, truth, write_images, write_threshold_model
from tests.jobs.dask_cluster import dask_cluster
from tests.jobs.processes import environment, wait_for

SETTINGS = PredictSettings(device="cpu", precision="float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 5)


@pytest.fixture
def predicted(monkeypatch):
    """Case ids in the order in which they went through the network."""
    seen, real = [], work.read_image

    def read(case, series_uid=None):
        seen.append(case.case_id)
        return real(case, series_uid)

    monkeypatch.setattr(work, "read_image", read)
    return seen


def job(images, output, model, settings=SETTINGS, **more):
    return predict(images, output, model=model, settings=settings, **more)


def statuses(manifest):
    return [case["status"] for case in manifest["cases"]]


def test_what_is_done_and_holds_is_not_done_again(images, tmp_path, model, predicted):
    first = job(images, tmp_path / "out", model)
    assert len(predicted) == 5
    again = job(images, tmp_path / "out", model)
    assert len(predicted) == 5
    assert again == first
    job(images, tmp_path / "out", model, PredictSettings("cpu", 16, "float32", overwrite=True))
    assert len(predicted) == 10


def test_the_manifest_says_what_went_in_and_what_came_out(images, tmp_path, model):
    manifest = job(images, tmp_path / "out", model)
    assert manifest == read_json(tmp_path / "out" / "predictions.json")
    assert manifest["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert manifest["model"]["weights_sha256"] == sha256(model / "weights.safetensors")
    for number, case in enumerate(manifest["cases"]):
        output = tmp_path / "out" / case["prediction"]
        assert case["input_sha256"] == sha256(images / f"case_{number:03d}.nii.gz")
        assert case["output_sha256"] == sha256(output)
        assert 0 < case["timings"]["network"] <= case["seconds"]
        np.testing.assert_array_equal(read_volume(output).array, truth(number))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _another(path):
    shutil.copy(path.with_name("case_001.nii.gz"), path)


@pytest.mark.parametrize("spoil", [_truncate, _flip, _another, os.unlink])
def test_a_label_map_that_was_altered_is_predicted_anew(spoil, images, tmp_path, model, predicted):
    job(images, tmp_path / "out", model)
    before = label_maps(tmp_path / "out")
    spoil(tmp_path / "out" / "case_003.nii.gz")
    job(images, tmp_path / "out", model)
    assert predicted[5:] == ["case_003"]
    assert label_maps(tmp_path / "out") == before


def test_a_changed_image_is_predicted_anew_even_with_its_old_time(
    images, tmp_path, model, predicted
):
    job(images, tmp_path / "out", model)
    path = images / "case_002.nii.gz"
    then = path.stat()
    shutil.copy(images / "case_004.nii.gz", path)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    job(images, tmp_path / "out", model)
    assert predicted[5:] == ["case_002"]
    found = read_volume(tmp_path / "out" / "case_002.nii.gz").array
    np.testing.assert_array_equal(found, truth(4))


def test_a_moved_folder_of_images_is_recognised(images, tmp_path, model, predicted):
    job(images, tmp_path / "out", model)
    manifest = job(images.rename(tmp_path / "moved"), tmp_path / "out", model)
    assert len(predicted) == 5
    assert "moved" in manifest["cases"][0]["image"]


def test_another_model_or_setting_predicts_all_anew(images, tmp_path, model, predicted):
    job(images, tmp_path / "out", model)
    other = write_threshold_model(tmp_path / "other", value=3)
    job(images, tmp_path / "out", other)
    assert len(predicted) == 10
    assert read_volume(tmp_path / "out" / "case_000.nii.gz").array.max() == 3
    settings = PredictSettings("cpu", 16, "float32", suffix=".nrrd")
    job(images, tmp_path / "out", other, settings)
    assert len(predicted) == 15


def test_several_models_are_averaged_and_all_named(images, tmp_path, model):
    other = shutil.copytree(model, tmp_path / "other")
    manifest = job(images, tmp_path / "out", [model, other])
    assert [one["folder"] for one in manifest["ensemble"]] == [str(model), str(other)]
    found = read_volume(tmp_path / "out" / "case_000.nii.gz").array
    np.testing.assert_array_equal(found, truth(0))


def test_new_cases_join_what_is_done(images, tmp_path, model, predicted):
    job(images, tmp_path / "out", model)
    write_images(images, 7)
    manifest = job(images, tmp_path / "out", model)
    assert sorted(predicted[5:]) == ["case_005", "case_006"]
    assert statuses(manifest) == ["done"] * 7


def test_a_failed_case_is_tried_again_once_it_may_be_mended(images, tmp_path, model, predicted):
    _truncate(images / "case_001.nii.gz")
    assert statuses(job(images, tmp_path / "out", model)).count("failed") == 1
    write_images(images, 2)
    assert statuses(job(images, tmp_path / "out", model)) == ["done"] * 5
    assert predicted[5:] == ["case_001"]


def test_what_another_hand_put_there_is_refused_and_kept(images, tmp_path, model):
    foreign = tmp_path / "out" / "case_003.nii.gz"
    foreign.parent.mkdir()
    foreign.write_bytes(b"drawn by hand")
    with pytest.raises(UsageError, match=r"case_003.*there already, and not of this job"):
        job(images, tmp_path / "out", model)
    assert foreign.read_bytes() == b"drawn by hand"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case_003.nii.gz"]
    job(images, tmp_path / "out", model, PredictSettings("cpu", 16, "float32", overwrite=True))
    np.testing.assert_array_equal(read_volume(foreign).array, truth(3))


def test_images_are_never_overwritten(images, model):
    before = label_maps(images)
    settings = PredictSettings("cpu", 16, "float32", overwrite=True)
    with pytest.raises(UsageError, match="an image, it is never overwritten"):
        job(images, images, model, settings)
    assert label_maps(images) == before


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_label_maps_come_in_the_format_that_was_asked_for(suffix, images, tmp_path, model):
    settings = PredictSettings("cpu", 16, "float32", suffix=suffix)
    job(images, tmp_path / "out", model, settings)
    found = read_volume(tmp_path / "out" / f"case_002{suffix}")
    np.testing.assert_array_equal(found.array, truth(2))
    assert found.array.dtype == np.uint8
    np.testing.assert_allclose(found.affine, np.diag([0.8, 0.8, 3.0, 1.0]), atol=1e-6)


def test_an_unknown_format_is_refused_before_anything_is_written(images, tmp_path, capsys):
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", "x"]
    assert cli.run([*command, "--format", "png"]) == 2
    assert "expected one of .nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parts_fill_one_folder_and_the_last_one_knows_all(images, tmp_path, model):
    def part(number):
        return job(images, tmp_path / "out", model, jobs=JobSettings(num_parts=2, part_id=number))

    assert statuses(part(1)) == ["pending", "done", "pending", "done", "pending"]
    assert statuses(part(0)) == ["done"] * 5
    job(images, tmp_path / "whole", model)
    assert label_maps(tmp_path / "out") == label_maps(tmp_path / "whole")


def test_processes_side_by_side_write_what_one_does(images, tmp_path, model):
    _truncate(images / "case_001.nii.gz")
    job(images, tmp_path / "one", model)
    manifest = job(images, tmp_path / "two", model, workers=2)
    assert statuses(manifest) == ["done", "failed", "done", "done", "done"]
    assert label_maps(tmp_path / "two") == label_maps(tmp_path / "one")


@pytest.mark.slow
def test_a_cluster_predicts_the_same(images, tmp_path, model):
    job(images, tmp_path / "one", model)
    with dask_cluster(tmp_path) as (address, _):
        manifest = job(images, tmp_path / "two", model, jobs=JobSettings(cluster=address))
    assert statuses(manifest) == ["done"] * 5
    assert label_maps(tmp_path / "two") == label_maps(tmp_path / "one")


def test_no_memory_at_all_fails_the_case_and_not_the_job(images, tmp_path, model, monkeypatch):
    real = Predictor.__call__

    def scarce(self, volume, probabilities):
        if (volume.array == image(2)).all():
            raise ResourceError("out of memory on cpu")
        return real(self, volume, probabilities)

    monkeypatch.setattr(Predictor, "__call__", scarce)
    manifest = job(images, tmp_path / "out", model)
    assert statuses(manifest) == ["done", "done", "failed", "done", "done"]
    assert "out of memory" in manifest["cases"][2]["error"]


def test_a_full_disk_stops_the_job_and_what_is_done_is_kept(
    images, tmp_path, model, predicted, monkeypatch
):
    real = work.write_label_map

    def full(path, volume):
        if path.name == "case_002.nii.gz":
            raise DiskFullError(f"{path}: the disk is full, nothing was written")
        real(path, volume)

    monkeypatch.setattr(work, "write_label_map", full)
    with pytest.raises(DiskFullError):
        job(images, tmp_path / "out", model)
    manifest = read_json(tmp_path / "out" / "predictions.json")
    assert statuses(manifest)[2] == "pending"
    assert set(statuses(manifest)) <= {"done", "pending"}
    left = [case["case_id"] for case in manifest["cases"] if case["status"] == "pending"]
    monkeypatch.setattr(work, "write_label_map", real)
    predicted.clear()
    assert statuses(job(images, tmp_path / "out", model)) == ["done"] * 5
    assert sorted(predicted) == left


def test_another_job_in_the_same_folder_at_the_same_time_is_refused(images, tmp_path, model):
    other = write_threshold_model(tmp_path / "other", value=3)
    seen = []

    def meddle(task, done, total, note=""):
        if done == 2 and not seen:
            seen.append(done)
            child = multiprocessing.get_context("spawn").Process(
                target=_expect_refusal, args=(images, tmp_path / "out", other)
            )
            child.start()
            child.join()
            assert child.exitcode == 0

    assert statuses(job(images, tmp_path / "out", model, progress=meddle)) == ["done"] * 5
    assert seen


def _expect_refusal(images, output, model):
    with pytest.raises(UsageError, match="at work there with another model"):
        predict(images, output, model=model, settings=SETTINGS)


def test_a_damaged_entry_of_the_journal_means_only_that_the_case_is_done_again(
    images, tmp_path, model, predicted
):
    job(images, tmp_path / "out", model)
    journal = Journal(tmp_path / "out" / ".journal")
    (journal.folder / f"{journal.name('case_004')}.json").write_text("{")
    job(images, tmp_path / "out", model)
    assert predicted[5:] == ["case_004"]


def test_half_written_files_of_a_killed_process_are_swept_up(images, tmp_path, model):
    job(images, tmp_path / "out", model)
    leftover = tmp_path / "out" / ".tmp-0123abcd-case_001.nii.gz"
    leftover.write_bytes(b"half")
    other = tmp_path / "out" / ".tmp-0123abcd-notes.txt"
    other.write_bytes(b"not ours")
    job(images, tmp_path / "out", model)
    assert not leftover.exists()
    assert other.exists()


def command(images, output, model):
    return [
        sys.executable, "-m", "medseg", "predict", "-i", str(images), "-o", str(output), "-m",
        str(model), "--device", "cpu", "--precision", "float32", "--no-progress",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_job_ends_with_130_and_goes_on(number, tmp_path, model):
    images, output = write_images(tmp_path / "images", 300), tmp_path / "out"
    with subprocess.Popen(
        command(images, output, model), stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        wait_for(lambda: len(label_maps(output)) > 5)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(20) == 130, said
    assert said.splitlines()[-1] == "medseg: interrupted"
    assert not list(output.glob(".tmp-*"))
    cases = read_json(output / "predictions.json")["cases"]
    assert {case["status"] for case in cases} == {"done", "pending"}
    done = [output / case["prediction"] for case in cases if case["status"] == "done"]
    kept = {path: path.stat().st_mtime_ns for path in done}
    manifest = job(images, output, model)
    assert statuses(manifest) == ["done"] * 300
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(workers, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from tests.inference import kills, small;"
        "root = Path(sys.argv[1]); pid = os.fork();"
        "pid or (small.write_threshold_model(root / 'model'), os._exit(0));"
        "os.waitpid(pid, 0); print(kills.run(root, 20, int(sys.argv[2])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(workers)],
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ", 20)" in done.stdout


def test_the_next_case_is_read_and_the_last_one_written_beside_the_network(
    images, tmp_path, model, monkeypatch
):
    at, lock, together, most = set(), threading.Lock(), set(), []

    def noted(step, function):
        def run(*arguments):
            with lock:
                at.add(step)
                together.add(frozenset(at))
            time.sleep(0.02)
            try:
                return function(*arguments)
            finally:
                with lock:
                    at.discard(step)

        return run

    def taken(self, count):
        most.append(self.size - self._free)
        return real_take(self, count)

    real_take = Room.take
    monkeypatch.setattr(Room, "take", taken)
    monkeypatch.setattr(work, "read_image", noted("read", work.read_image))
    monkeypatch.setattr(work, "write_label_map", noted("write", work.write_label_map))
    monkeypatch.setattr(Predictor, "__call__", noted("network", Predictor.__call__))
    assert statuses(job(images, tmp_path / "beside", model)) == ["done"] * 5
    assert any(len(steps) > 1 and "network" in steps for steps in together)
    assert max(most) <= 2
    together.clear()
    bounded = PredictSettings("cpu", 16, "float32", max_memory_gb=20)
    assert statuses(job(images, tmp_path / "bounded", model, bounded)) == ["done"] * 5
    assert all(len(steps) <= 1 for steps in together)
    assert label_maps(tmp_path / "beside") == label_maps(tmp_path / "bounded")


def test_a_case_that_lacks_memory_beside_another_is_tried_alone(
    images, tmp_path, model, monkeypatch
):
    real, tried = work.read_image, []

    def scarce(case, series_uid=None):
        tried.append(case.case_id)
        if tried.count(case.case_id) == 1:
            raise MemoryError
        return real(case, series_uid)

    monkeypatch.setattr(work, "read_image", scarce)
    assert statuses(job(images, tmp_path / "out", model)) == ["done"] * 5
    assert len(tried) == 10


def test_ctrl_c_in_the_network_leaves_what_was_begun_for_the_next_call(
    images, tmp_path, model, monkeypatch
):
    real = Predictor.__call__

    def interrupted(self, volume, probabilities):
        if (volume.array == image(1)).all():
            raise KeyboardInterrupt
        return real(self, volume, probabilities)

    monkeypatch.setattr(Predictor, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job(images, tmp_path / "out", model)
    assert not list((tmp_path / "out" / ".journal" / "claims").glob("*.lease"))
    monkeypatch.setattr(Predictor, "__call__", real)
    assert statuses(job(images, tmp_path / "out", model)) == ["done"] * 5


def test_probabilities_are_written_beside_the_label_map_and_checked(images, tmp_path, model):
    with_them = replace(SETTINGS, extras=("probabilities",))
    manifest = job(images, tmp_path / "out", model, with_them)
    path = tmp_path / "out" / "case_003.probabilities.npy"
    assert manifest["cases"][3]["extras"] == {path.name: sha256(path)}
    found = np.load(path)
    assert found.dtype == np.float16
    assert found.shape == (2, *image(3).shape)
    np.testing.assert_array_equal(found.argmax(axis=0) * 7, truth(3))
    path.write_bytes(b"altered")
    job(images, tmp_path / "out", model, with_them)
    np.testing.assert_array_equal(np.load(path), found)


def test_a_case_that_fails_leaves_no_probabilities(images, tmp_path, model, monkeypatch):
    def fail(path, volume):
        raise OSError("no")

    monkeypatch.setattr(work, "write_label_map", fail)
    manifest = job(images, tmp_path / "out", model, replace(SETTINGS, extras=("probabilities",)))
    assert statuses(manifest) == ["failed"] * 5
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"max_memory_gb": 9.0}, {"device": "auto"}])
def test_settings_that_change_no_label_leave_finished_cases_as_they_are(change):
    one = Job((), (), Path("out"), SETTINGS)
    assert one.digest == replace(one, settings=replace(SETTINGS, **change)).digest


def test_every_setting_that_is_not_marked_asks_for_new_labels():
    marked = {one.name for one in fields(PredictSettings) if one.metadata.get(NO_LABEL)}
    assert marked == {
        "device", "batch_size", "overwrite", "max_memory_gb", "compile", "trust",
    }  # fmt: skip
    one = Job((), (), Path("out"), SETTINGS)
    assert one.digest != replace(one, settings=replace(SETTINGS, tta="flips")).digest
