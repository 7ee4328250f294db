"""One run of a comparison: train by medseg's commands, predict, score, and write down the cost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.evaluation.values import headline_values, read_results
from medseg.files import read_json, write_json

EPOCHS = 4  # a run is cut into so many, each with a validation: the best of them is delivered
SHORT, LONG = 3, 13  # iterations per epoch of the two runs that speed is measured by
GRACE = 300.0  # seconds that a training has to write its checkpoint once its time is up


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        name: Of the run and its folder.
        config: A shipped config, or a path.
        changes: Overrides besides those of length, seed and folders.
        seed: Of the run.
        iterations: Optimizer steps.
        tta: Flips that test cases are predicted under, as ``medseg predict --tta`` names them.
    """

    name: str
    config: str
    iterations: int
    seed: int = 0
    changes: Sequence[str] = ()
    tta: str = "none"


@dataclass(frozen=True)
class Place:
    """Where and on what it runs.

    Attributes:
        data: The data set.
        out: One folder per run, and ``<run>.json`` for each finished one.
        threads: Of a run.
        limit: Seconds by the clock that one training may take.
    """

    data: Path
    out: Path
    threads: int
    limit: float


@dataclass
class Cost:
    """What the sittings of a training took together, start of the program and validation included.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of all threads.
        sittings: How many there were: more than one if it was stopped and went on.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    sittings: int = 0


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        plan: What was trained.
        cost: Of the training.
        threads: It ran on.
        predict_cpu_seconds: Of all test cases, start of the program included.
        case_ids: Test cases.
        organs: Names.
        dsc: Of every case, a list per case with a figure per organ.
        load: Processes that wanted a core when the run ended, a minute's mean.
    """

    plan: Plan
    cost: Cost
    threads: int
    predict_cpu_seconds: float
    case_ids: list[str] = field(default_factory=list)
    organs: list[str] = field(default_factory=list)
    dsc: list[list[float]] = field(default_factory=list)
    load: float = 0.0


def result_of(plan: Plan, place: Place) -> Result | None:
    """Do a run, or read what came of it; ``None`` if its training ran out of time.

    A training that was stopped goes on from its checkpoint.

    Raises:
        ValueError: If another plan was carried out under this name.
        subprocess.CalledProcessError: If a command failed.
    """
    file = place.out / f"{plan.name}.json"
    if file.exists():
        found = read_result(file)
        if asdict(found.plan) != asdict(plan) | {"changes": list(plan.changes)}:
            raise ValueError(f"{file} is of another plan: {found.plan}; wanted {plan}")
        return found
    run = place.out / plan.name
    if not trained(plan, place, run):
        return None
    cases = str(run / "cases" / "test.json")
    predicted, scored = str(run / "predicted"), str(run / "results")
    cost = Cost()
    command(
        "predict", "-i", cases, "-o", predicted, "-m", str(run), "--tta", plan.tta,
        place=place, cost=cost,
    )  # fmt: skip
    command("evaluate", "-i", predicted, "-l", cases, "-o", scored, "--metrics", "dsc", place=place)
    result = _result(plan, place, run, cost.cpu_seconds)
    write_json(file, asdict(result))
    return result


def trained(plan: Plan, place: Place, run: Path) -> bool:
    """Train, or go on; whether it came to its end. What it cost is added to ``cost.json``."""
    file = run.with_name(f"{run.name}.cost.json")
    cost = Cost(**read_json(file)) if file.exists() else Cost()
    changes = (
        f"seed={plan.seed}", f"train_loader::batches_per_epoch={-(-plan.iterations // EPOCHS)}",
        f"settings::max_epochs={EPOCHS}", "settings::validate_every=1", *plan.changes,
    )  # fmt: skip
    started = (run / "checkpoints").exists()
    try:
        command(
            "train", plan.config, f"data={place.data.resolve()}", f"out_dir={run.resolve()}",
            *changes, "--resume" if started else "--overwrite", place=place, cost=cost,
        )  # fmt: skip
    except TimeoutError:
        return False
    finally:
        write_json(file, asdict(cost))
    return True


def command(*arguments: str, place: Place, cost: Cost | None = None) -> None:
    """Run ``medseg`` with these arguments and add up its cost.

    Raises:
        TimeoutError: If it was stopped for having taken ``place.limit`` in all.
        subprocess.CalledProcessError: If it failed.
    """
    cost = Cost() if cost is None else cost
    words = [sys.executable, "-m", "medseg", *arguments, "--no-progress"]
    environment = os.environ | {"OMP_NUM_THREADS": str(place.threads)}
    place.out.mkdir(parents=True, exist_ok=True)
    begin, late = time.monotonic(), False
    with (place.out / "log.txt").open("a") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while (found := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                time.sleep(0.2)
                if not late and cost.seconds + time.monotonic() - begin > place.limit:
                    process.send_signal(signal.SIGINT)
                    late = True
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            found = os.wait4(process.pid, 0)
            late = True
            raise
        finally:
            process.returncode = os.waitstatus_to_exitcode(found[1])
            cost.seconds += time.monotonic() - begin
            cost.cpu_seconds += found[2].ru_utime + found[2].ru_stime
            cost.sittings += 1
    if late and process.returncode:
        raise TimeoutError(f"{' '.join(words)}: stopped after {cost.seconds:.0f} s")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def iterations_for(config: str, changes: Sequence[str], place: Place, cpu_seconds: float) -> int:
    """How many iterations a training of so much CPU time has, all that it does included.

    Two short runs with as many validations as the real one tell what an iteration takes and what
    everything else. Measured once per folder.
    """
    name = "-".join(["speed", Path(config).stem, *(change.split("=")[-1] for change in changes)])
    file = place.out / f"{name}.json"
    if not file.exists():
        taken = {}
        for length in (SHORT, LONG):
            plan = Plan(f"{name}-{length}", config, length * EPOCHS, changes=changes)
            (place.out / f"{plan.name}.cost.json").unlink(missing_ok=True)
            trained(plan, place, place.out / plan.name)
            taken[length] = read_json(place.out / f"{plan.name}.cost.json")["cpu_seconds"]
        each = (taken[LONG] - taken[SHORT]) / (EPOCHS * (LONG - SHORT))
        rest = max(0.0, taken[SHORT] - EPOCHS * SHORT * each)
        write_json(file, {"cpu_seconds_per_iteration": each, "cpu_seconds_besides": rest})
    speed: dict[str, Any] = read_json(file)
    left = cpu_seconds - speed["cpu_seconds_besides"]
    return EPOCHS * max(1, int(left / speed["cpu_seconds_per_iteration"]) // EPOCHS)


def read_result(file: Path) -> Result:
    """What :func:`result_of` wrote."""
    content = read_json(file)
    return Result(**content | {"plan": Plan(**content["plan"]), "cost": Cost(**content["cost"])})


def _result(plan: Plan, place: Place, run: Path, predict_cpu_seconds: float) -> Result:
    results = read_results(run / "results" / "results.json")
    organs, cases = list(results["labels"]), results["cases"]
    figures = headline_values(cases, organs, "dsc", results["metrics"]["dsc"])
    return Result(
        plan=plan,
        cost=Cost(**read_json(place.out / f"{plan.name}.cost.json")),
        threads=place.threads,
        predict_cpu_seconds=predict_cpu_seconds,
        case_ids=[case["case_id"] for case in cases],
        organs=organs,
        dsc=np.asarray(figures).tolist(),
        load=os.getloadavg()[0],
    )
