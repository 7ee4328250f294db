"""A Dask cluster of real processes on this machine, as a user would start it."""

import json
import subprocess
import sys
from contextlib import contextmanager

from distributed import Client

from tests.jobs.processes import ROOT, environment, wait_for


@contextmanager
def dask_cluster(folder, *, workers=2, pythonpath=ROOT):
    """The address of a scheduler with ``workers`` workers, and the process of their nannies."""
    file = folder / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = _start(
        folder, pythonpath, "scheduler", *common, "--port", "0", "--host", "127.0.0.1"
    )
    nannies = None
    try:
        wait_for(file.exists)
        nannies = _start(
            folder, pythonpath, "worker", *common, "--nworkers", str(workers), "--nthreads", "1",
            "--local-directory", str(folder), "--death-timeout", "60",
        )  # fmt: skip
        address = json.loads(file.read_text())["address"]
        _wait_for_nannies(address, workers)
        yield address, nannies
    finally:
        for process in (nannies, scheduler):
            if process is not None:
                _end(process)


def _wait_for_nannies(address, count):
    """A nanny gives up if its worker is killed before it has seen it start."""
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count)

        def all_run():
            states = client.run(lambda dask_worker: dask_worker.status.name, nanny=True)
            return list(states.values()) == ["running"] * count

        wait_for(all_run)


def _end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:  # a nanny in the middle of a restart
        process.kill()
        process.wait()


def _start(folder, pythonpath, *arguments):
    settings = environment() | {"PYTHONPATH": str(pythonpath)}
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        env=settings, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
