"""The comparison of trainings: what is kept, how long it takes, what its table says."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import training_runs
from benchmarks.hippocampus_3d import difference, figures_of, print_table
from benchmarks.training_runs import Cost, Place, Plan, Result, iterations_for, result_of


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "data", tmp_path / "out", threads=1, limit=60.0)


@pytest.fixture
def said(monkeypatch, place):
    """Commands instead of trainings: 20 s of CPU and 2 more for every iteration."""
    commands = []

    def command(*arguments, place, cost=None):
        commands.append(arguments)
        if arguments[0] == "train":
            lengths = [a for a in arguments if a.startswith("train_loader::batches_per_epoch=")]
            cost.cpu_seconds += 20 + 2 * training_runs.EPOCHS * int(lengths[0].split("=")[1])
        if arguments[0] == "evaluate":
            figures = {"status": "scored", "dsc": 0.75}
            case = {"case_id": "one", "diagonal_mm": 9.0, "organs": {"Anterior": figures}}
            metric = {"name": "DSC", "unit": "1", "better": "higher", "headline": True}
            content = {"labels": {"Anterior": 1}, "metrics": {"dsc": metric}, "cases": [case]}
            folder = place.out / "run" / "results"
            folder.mkdir(parents=True)
            (folder / "results.json").write_text(json.dumps(content | {"version": "0"}))

    place.out.mkdir()
    monkeypatch.setattr(training_runs, "command", command)
    return commands


def result(name, dsc, seed=0):
    cost = Cost(seconds=30.0, cpu_seconds=20.0, sittings=1)
    ids = [f"case_{index}" for index in range(len(dsc))]
    return Result(Plan(name, "config", 8, seed), cost, 1, 1.0, ids, ["Anterior", "Posterior"], dsc)


def test_a_budget_of_cpu_time_becomes_iterations_by_what_two_short_runs_took(place, said):
    assert iterations_for("some_config", (), place, 100.0) == 40  # 20 besides, 2 each
    assert len(said) == 2
    assert iterations_for("some_config", (), place, 60.0) == 20
    assert len(said) == 2  # not measured again


def test_a_finished_run_is_kept_and_another_plan_of_its_name_refused(place, said):
    plan = Plan("run", "some_config", iterations=8, changes=("network::attention=axial",))
    first = result_of(plan, place)
    assert [arguments[0] for arguments in said] == ["train", "predict", "evaluate"]
    assert "network::attention=axial" in said[0]
    assert first.dsc == [[0.75]]
    assert first.cost.cpu_seconds == 36
    again = result_of(plan, place)
    assert len(said) == 3
    assert (again.dsc, again.cost) == (first.dsc, first.cost)
    with pytest.raises(ValueError, match="another plan"):
        result_of(Plan("run", "some_config", iterations=12), place)


def test_a_command_is_stopped_when_its_time_is_up(tmp_path, monkeypatch):
    place, cost = Place(tmp_path, tmp_path, 1, limit=0.5), Cost()
    own = subprocess.Popen

    def popen(words, **settings):
        sleep = "import time; time.sleep(30)"
        return own([sys.executable, "-c", sleep], env=settings["env"])

    monkeypatch.setattr(training_runs.subprocess, "Popen", popen)
    with pytest.raises(TimeoutError):
        training_runs.command("train", place=place, cost=cost)
    assert 0.5 < cost.seconds < 20
    assert cost.sittings == 1


def test_seeds_are_averaged_case_by_case_before_the_difference(capsys):
    dense = [result("dense-0", [[0.8, 0.7], [0.9, 0.8]]), result("dense-1", [[0.6, 0.7]] * 2, 1)]
    axial = [result("axial-0", [[0.8, 0.8], [0.85, 0.85]])]
    np.testing.assert_allclose(figures_of(("dense", dense))[:, -1], [0.7, 0.75])
    told = difference(figures_of(("axial", axial)), figures_of(("dense", dense)))
    assert told.startswith("+10.00 (")  # 0.825 less 0.725, in points
    print_table([("dense", dense), ("axial", axial)])
    lines = capsys.readouterr().out.splitlines()
    assert "0.7250" in lines[2]
    assert "+10.00" in lines[3]
