"""Start a Dask cluster on SLURM, or on this machine, and let it work at a medseg command.

python docs/cluster/on_dask.py --workers 20 -- predict -i scans -o out -m runs/mine
python docs/cluster/on_dask.py --local --workers 2 -- evaluate -i out -l truth -o results
"""

import argparse
import subprocess
import sys
from typing import Any


def main() -> int:
    """Run the command with the cluster's address, and return its exit code."""
    options = _options()
    with _cluster(options) as cluster:
        cluster.scale(options.workers)
        address = ["--cluster", cluster.scheduler_address]
        medseg = [sys.executable, "-m", "medseg"]
        return subprocess.run([*medseg, *options.command, *address], check=False).returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run medseg predict or evaluate on Dask.")
    parser.add_argument("--local", action="store_true", help="on this machine, to try it")
    parser.add_argument("--workers", type=int, default=4, help="each one SLURM job")
    parser.add_argument("--cores", type=int, default=1, help="of each worker")
    parser.add_argument("--memory", default="8GB", help="of each worker")
    parser.add_argument("--walltime", default="02:00:00", help="of each worker")
    parser.add_argument("--partition", help="SLURM's queue")
    parser.add_argument("command", nargs="+", help="after --: the verb and its options")
    return parser.parse_args()


def _cluster(options: argparse.Namespace) -> Any:
    if options.local:
        from distributed import LocalCluster

        return LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None)
    from dask_jobqueue import SLURMCluster

    return SLURMCluster(
        cores=options.cores,
        processes=1,
        memory=options.memory,
        walltime=options.walltime,
        queue=options.partition,
        worker_extra_args=["--nthreads", "1"],  # a case at a time; its arithmetic takes the cores
        job_script_prologue=[f"export OMP_NUM_THREADS={options.cores}"],
    )


if __name__ == "__main__":
    sys.exit(main())
