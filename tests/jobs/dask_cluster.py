"""A Dask cluster of real processes on this machine, as a user would start it."""

import json
import subprocess
import sys
from contextlib import contextmanager

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
        yield json.loads(file.read_text())["address"], nannies
    finally:
        for process in (nannies, scheduler):
            if process is not None:
                _end(process)


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
