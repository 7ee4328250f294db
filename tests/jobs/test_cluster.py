import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from medseg.errors import CasesFailedError, InputError, ResourceError, UsageError
from medseg.jobs import cluster
from medseg.jobs.cluster import run_on_cluster
from tests.jobs.dask_cluster import dask_cluster
from tests.jobs.processes import environment


def _halve(number):
    if number % 2:
        raise InputError(f"{number}.nii", "an even number", str(number))
    return number // 2


def _die_on_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return number


def _sleep(number):
    time.sleep(1)
    return number


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as (address, _):
        yield address


def test_nobody_at_the_address_is_told_in_one_line():
    with pytest.raises(
        UsageError, match=r"--cluster tcp://127.* no Dask scheduler answers"
    ) as told:
        list(run_on_cluster(_halve, [1, 2], free_address(), timeout_s=0.5))
    assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        list(run_on_cluster(_halve, [1, 2], "nonsense://x", timeout_s=0.5))


def test_a_missing_package_is_told_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'medseg\[cluster\]'"):
        list(run_on_cluster(_halve, [1, 2], "tcp://127.0.0.1:1"))


def test_dask_is_imported_only_where_a_cluster_is_asked_for():
    imports = "import sys, medseg.jobs, medseg.evaluation.evaluate"
    code = f"{imports}; sys.exit('distributed' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


@pytest.mark.slow
def test_results_and_errors_come_back_one_per_item(address):
    outcomes = list(run_on_cluster(_halve, range(50), address))
    assert sorted(outcome.item for outcome in outcomes) == list(range(50))
    assert {o.item: o.result for o in outcomes if o.error is None} == {
        number: number // 2 for number in range(0, 50, 2)
    }
    assert all(isinstance(o.error, InputError) for o in outcomes if o.item % 2)


@pytest.mark.slow
def test_few_items_are_in_flight_at_a_time(address, monkeypatch):
    most, submit = [0], cluster._Flight.submit

    def watched(self, index, item):
        submit(self, index, item)
        most[0] = max(most[0], self.size)

    monkeypatch.setattr(cluster._Flight, "submit", watched)
    assert len(list(run_on_cluster(_halve, range(0, 100, 2), address))) == 50
    assert most[0] == max(cluster.LEAST, 2 * cluster.AHEAD)


@pytest.mark.slow
def test_another_medseg_on_the_workers_is_refused(address, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "9.9.9")
    with pytest.raises(UsageError, match=r"a worker has medseg .*, here is 9\.9\.9"):
        list(run_on_cluster(_halve, [2, 4], address))


@pytest.mark.slow
def test_workers_that_lack_medseg_are_told_in_one_line(tmp_path):
    (tmp_path / "medseg").mkdir()
    (tmp_path / "medseg" / "__init__.py").touch()  # another package of that name
    with dask_cluster(tmp_path, pythonpath=tmp_path) as (address, _):
        with pytest.raises(UsageError, match=r"need the same medseg.*No module named") as told:
            list(run_on_cluster(_halve, [2, 4], address))
        assert "\n" not in str(told.value)


@pytest.mark.slow
def test_an_item_that_kills_its_workers_becomes_an_error_and_the_others_are_done(tmp_path):
    with dask_cluster(tmp_path) as (address, _):
        outcomes = {o.item: o for o in run_on_cluster(_die_on_three, range(12), address)}
    assert sorted(outcomes) == list(range(12))
    assert isinstance(outcomes.pop(3).error, CasesFailedError)
    assert all(outcome.unwrap() == item for item, outcome in outcomes.items())


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_told(tmp_path, capfd):
    with dask_cluster(tmp_path) as (address, nannies):
        scheduler = _scheduler_of(nannies)
        threading.Timer(3, os.kill, [scheduler, signal.SIGKILL]).start()
        with pytest.raises(ResourceError, match="the Dask scheduler is gone"):
            list(run_on_cluster(_sleep, range(100), address))
    assert capfd.readouterr().err == ""


def _scheduler_of(nannies):
    """The scheduler's process was started by us just before that of the nannies."""
    own = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return max(int(pid) for pid in own if int(pid) < nannies.pid)
