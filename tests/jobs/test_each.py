import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medseg.errors import CasesFailedError, InputError, ResourceError
from medseg.jobs import run_each
from tests.jobs.processes import environment, runs, wait_for


def _halve(number):
    if number % 2:
        raise InputError(f"{number}.nii", "an even number", str(number))
    return number // 2


def _die(number):
    if number == 2:
        os._exit(9)
    return number


def _die_once(item):
    """Items are (number, folder); number 3 is killed the first time."""
    number, folder = item
    trace = Path(folder) / f"{number}-{time.monotonic_ns()}"
    trace.touch()
    if number == 3 and len(list(Path(folder).glob("3-*"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _divide(number):
    return 1 // number


def _process_id(number):
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


class _OddError(ValueError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def _raise_odd(number):
    raise _OddError(number, number)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_item_that_fails_never_stops_the_others(workers):
    outcomes = {outcome.item: outcome for outcome in run_each(_halve, [2, 3, 4], workers=workers)}
    assert outcomes[2].unwrap() == 1
    assert outcomes[4].unwrap() == 2
    with pytest.raises(InputError, match=r"3\.nii: expected an even number, got 3"):
        outcomes[3].unwrap()


def test_an_item_that_ends_its_process_takes_no_other_with_it():
    outcomes = list(run_each(_die, range(1, 8), workers=2))
    assert sorted(outcome.item for outcome in outcomes) == list(range(1, 8))
    (dead,) = [outcome for outcome in outcomes if outcome.error]
    assert dead.item == 2
    assert isinstance(dead.error, CasesFailedError)
    assert "ended with code 9, twice" in str(dead.error)


def test_a_killed_process_costs_one_more_try_of_its_item_alone(tmp_path):
    items = [(number, str(tmp_path)) for number in range(6)]
    results = [outcome.unwrap() for outcome in run_each(_die_once, items, workers=2)]
    assert sorted(results) == list(range(6))
    assert results[-1] == 3  # after all the others
    tries = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert sorted(tries) == ["0", "1", "2", "3", "3", "4", "5"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_that_is_ours_is_not_hidden_as_a_case(workers):
    with pytest.raises(ZeroDivisionError):
        list(run_each(_divide, [0, 1], workers=workers))


def test_an_error_that_does_not_survive_the_way_keeps_its_words():
    (first, _) = run_each(_raise_odd, [1, 2], workers=2)
    assert str(first.error) == f"_OddError: {first.item} and {first.item}"


def test_processes_are_kept_and_do_arithmetic_in_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    results = {outcome.unwrap() for outcome in run_each(_process_id, range(20), workers=2)}
    assert len(results) <= 2
    assert {threads for _, threads in results} == {"1"}
    assert "OMP_NUM_THREADS" not in os.environ


def test_processes_that_cannot_begin_are_told_in_one_line(tmp_path):
    script = tmp_path / "unguarded.py"  # started anew in every process, since it has no guard
    script.write_text(
        "from medseg.jobs import run_each\n"
        "print([o.unwrap() for o in run_each(abs, [1, 2, 3], workers=2)])\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 1
    assert "3 worker processes ended with code 1 before they could begin" in done.stderr
    assert ResourceError.__name__ in done.stderr


PARENT = """
import os, sys, time
from medseg.jobs import run_each
from tests.jobs.test_each import _sleep
if __name__ == "__main__":
    list(run_each(_sleep, [(n, sys.argv[1]) for n in range(4)], workers=2))
"""


def _sleep(item):
    folder = item[1]
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(60)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_a_parent_that_is_ended(how, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), str(tmp_path)]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    parent.send_signal(how)
    parent.communicate(timeout=20)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    wait_for(lambda: not any(runs(pid) for pid in pids))
