"""Evaluations that are killed, split or computed elsewhere end as one that nobody disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from medseg import cli
from medseg.errors import InputError, UsageError
from medseg.evaluation.evaluate import evaluate
from medseg.jobs import JobSettings
from medseg.jobs.lease import WHOLE, lease
from tests.evaluation.files import SHAPE, save
from tests.jobs.dask_cluster import dask_cluster
from tests.jobs.processes import children, environment, runs, wait_for

CASES = 200
ORGANS = "liver=1,spleen=2"
LABELS = {"liver": 1, "spleen": 2}


def write(root, count, *, bad):
    """Pairs of tiny label maps; the prediction of case ``bad`` has a value that nobody named."""
    rng = np.random.default_rng(0)
    for folder in ("out", "truth"):
        (root / folder).mkdir()
        for number in range(count):
            array = rng.integers(0, 3, SHAPE).astype(np.uint8)
            if (folder, number) == ("out", bad):
                array[0, 0, 0] = 77
            save(root / folder / f"case_{number:03d}.nii", array)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"), CASES, bad=17)


@pytest.fixture(scope="module")
def undisturbed(data):
    assert run(data, data / "undisturbed", "--workers", "1") == 4
    return files_of(data / "undisturbed")


@pytest.fixture
def few(tmp_path):
    return write(tmp_path, 11, bad=5)


def command(data, output, *more):
    places = ["-i", str(data / "out"), "-l", str(data / "truth"), "-o", str(output)]
    return ["evaluate", *places, "--organs", ORGANS, "--no-progress", *more]


def run(data, output, *more):
    return cli.run(command(data, output, *more))


def start(data, output, *more):
    arguments = [sys.executable, "-m", "medseg", *command(data, output, *more)]
    return subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in ("results.json", "results.csv")}


def entries(output):
    return list((output / ".journal").glob("case_*.json"))


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(data, undisturbed, tmp_path):
    process = start(data, tmp_path, "--workers", "2")
    wait_for(lambda: len(entries(tmp_path)) >= 10)
    for pid in children(process.pid)[-1:]:
        os.kill(pid, signal.SIGKILL)
    before = len(entries(tmp_path))
    _, said = process.communicate(timeout=120)
    assert before < CASES
    assert process.returncode == 4  # for the one bad case
    assert "1 of 200 cases failed" in said
    assert files_of(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_killed_parent_is_resumed_and_what_was_done_is_not_done_again(
    data, undisturbed, tmp_path
):
    process = start(data, tmp_path, "--workers", "2")
    wait_for(lambda: len(entries(tmp_path)) >= 30)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(runs(pid) for pid in workers))
    kept = {path: path.stat().st_mtime_ns for path in entries(tmp_path)}
    assert 30 <= len(kept) < CASES
    assert not (tmp_path / "results.json").exists()

    assert run(data, tmp_path, "--workers", "2") == 4
    assert files_of(tmp_path) == undisturbed
    assert len(entries(tmp_path)) == CASES  # kept, since a case failed
    bad = next(path for path in entries(tmp_path) if path.name.startswith("case_017"))
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items() if path != bad)


@pytest.mark.slow
def test_a_killed_dask_worker_changes_nothing(data, undisturbed, tmp_path):
    output = tmp_path / "results"
    with dask_cluster(tmp_path) as (address, nannies):
        process = start(data, output, "--cluster", address)
        wait_for(lambda: len(entries(output)) >= 10)
        before = len(entries(output))
        os.kill(children(nannies.pid)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert before < CASES
    assert process.returncode == 4, said
    assert said.count("\n") <= 30, said
    assert files_of(output) == undisturbed


def test_parts_are_merged_to_the_whole_and_a_missing_one_is_told(few, capsys):
    output, codes = few / "parts", {}
    part = ["--workers", "1", "--num-parts", "4", "--part-id"]
    for part_id in (0, 1, 3):
        codes[part_id] = run(few, output, *part, str(part_id), "--json")
        done = json.loads(capsys.readouterr().out)
        assert len(done["cases"]) == {0: 3, 1: 2, 3: 2}[part_id]
        assert not (output / "results.json").exists()
    assert codes == {0: 0, 1: 4, 3: 0}  # case 5 is bad, and in part 1
    assert run(few, output, "--merge") == 3
    said = capsys.readouterr().err
    assert "3 missing" in said
    assert "case_002, case_006, case_010; run --num-parts 4 --part-id 2 again" in said
    assert not (output / "results.json").exists()
    run(few, output, *part, "2")
    assert run(few, output, "--merge") == run(few, few / "whole", "--workers", "1") == 4
    assert files_of(output) == files_of(few / "whole")


def test_nothing_is_left_behind_when_every_case_is_scored(tmp_path):
    out, truth, output = places(write(tmp_path, 3, bad=None))
    evaluate(out, truth, output, labels=LABELS)
    kept = sorted(path.name for path in output.iterdir())
    assert kept == ["results.csv", "results.json", "results.tex", "summary.json"]


def test_a_part_is_computed_anew_where_a_file_or_a_label_changed(tmp_path):
    out, truth, output = places(write(tmp_path, 3, bad=None))
    part, merge = JobSettings(num_parts=1, part_id=0), JobSettings(merge=True)
    evaluate(out, truth, output, labels=LABELS, jobs=part)
    with pytest.raises(InputError, match="3 missing, or made from other files or settings"):
        evaluate(out, truth, output, labels={"spleen": 1, "liver": 2}, jobs=merge)
    shutil.copy(out / "case_000.nii", out / "case_001.nii")
    with pytest.raises(InputError, match=r"1 missing.*: case_001; run --num-parts 1 --part-id 0"):
        evaluate(out, truth, output, labels=LABELS, jobs=merge)
    evaluate(out, truth, output, labels=LABELS, jobs=part)
    merged = evaluate(out, truth, output, labels=LABELS, jobs=merge)
    assert merged == evaluate(out, truth, tmp_path / "whole", labels=LABELS)


def test_the_voxels_beside_a_header_belong_to_what_went_in(tmp_path):
    out, truth, output = places(write(tmp_path, 1, bad=None))
    (out / "case_000.nii").unlink()
    save(out / "case_000.mhd", np.ones(SHAPE, np.uint8))
    part, merge = JobSettings(num_parts=1, part_id=0), JobSettings(merge=True)
    evaluate(out, truth, output, labels=LABELS, jobs=part)
    (voxels,) = [path for path in out.iterdir() if path.suffix != ".mhd"]
    voxels.write_bytes(bytes(voxels.stat().st_size))
    with pytest.raises(InputError, match="1 missing"):
        evaluate(out, truth, output, labels=LABELS, jobs=merge)


def test_two_evaluations_into_one_folder_are_refused(few, capsys):
    output = few / "results"
    with lease(output / ".journal", WHOLE):
        assert run(few, output) == 2
    assert f"{output}: process {os.getpid()} on" in capsys.readouterr().err
    with (
        lease(output / ".journal", "part-0-of-2"),
        pytest.raises(UsageError, match="part-0-of-2"),
    ):
        evaluate(*places(few), labels=LABELS)


def places(root):
    return root / "out", root / "truth", root / "results"


def test_parts_that_make_no_sense_end_with_two(tmp_path, capsys):
    assert run(tmp_path, tmp_path, "--num-parts", "2") == 2
    assert "belong together" in capsys.readouterr().err
    assert run(tmp_path, tmp_path, "--num-parts", "2", "--part-id", "2") == 2
    assert run(tmp_path, tmp_path, "--merge", "--num-parts", "2", "--part-id", "1") == 2
    assert list(tmp_path.iterdir()) == []
