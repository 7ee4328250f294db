"""Workers of one folder job killed at random moments, as often as one likes.

    python -m tests.inference.kills --kills 200 --workers 3

Workers are forked from a process that has imported everything, so that a kill costs no start of
Python. After every kill, whatever can be seen in the folder must be whole; at the end of each job
the folder must equal one that nobody disturbed, and no case that was recorded may have been
predicted again.
"""

import argparse
import gzip
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from medseg.inference.predict import PredictSettings, predict
from tests.inference.small import write_images, write_threshold_model

CASES = 50
SETTINGS = PredictSettings(device="cpu", precision="float32")
TIMES = ("seconds", "timings", "path", "device")


def start(root, output):
    """Fork a worker that predicts all images of ``root`` into ``output``."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        predict(root / "images", output, model=root / "model", settings=SETTINGS)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent wants to see it
        traceback.print_exc()
    finally:
        os._exit(code)


def label_maps(output):
    """Name → bytes of everything that claims to be a label map."""
    found = output.glob("*.nii.gz") if output.is_dir() else ()
    return {path.name: path.read_bytes() for path in found if not path.name.startswith(".")}


def tree(output):
    """All that must be the same however often somebody was killed."""
    manifest = json.loads((output / "predictions.json").read_text())
    for case in manifest["cases"]:
        for key in TIMES:
            case.pop(key)
    del manifest["path"], manifest["device"]
    everything = (str(path.relative_to(output)) for path in output.rglob("*"))
    return sorted(everything), label_maps(output), manifest


def recorded(output):
    """Name → when it was written, of the journal's entries with a result."""
    found = {}
    for path in (output / ".journal").glob("case*.json"):
        if json.loads(path.read_text())["entry"]["result"] is not None:
            stat = path.stat()
            found[path.name] = (stat.st_mtime_ns, stat.st_ino)
    return found


def check_whole(output, expected):
    for name, content in label_maps(output).items():
        gzip.decompress(content)
        assert content == expected[name], name


def job(root, output, expected, *, workers, kills, rng, seconds):
    """Run one job, killing at most ``kills`` times; how many kills it took."""
    running = {start(root, output) for _ in range(workers)}
    killed, kept = 0, {}
    while running:
        if killed < kills:
            time.sleep(rng.uniform(0, seconds))
            victim = rng.choice(sorted(running))
            os.kill(victim, signal.SIGKILL)
            _, status = os.waitpid(victim, 0)
            running.discard(victim)
            if os.WIFSIGNALED(status):
                killed += 1
                running.add(start(root, output))
            check_whole(output, expected[1])
            now = recorded(output)
            assert kept.items() <= now.items(), "a recorded case was lost or predicted again"
            kept = now
        else:
            running -= {pid for pid in running if finished(pid, os.WNOHANG)}
            time.sleep(0.01)
    assert kept.items() <= recorded(output).items()
    files, contents, manifest = tree(output)
    assert not set(files) ^ set(expected[0]), set(files) ^ set(expected[0])
    assert contents == expected[1]
    assert manifest == expected[2]
    return killed


def finished(pid, options=0):
    done, status = os.waitpid(pid, options)
    assert not done or os.waitstatus_to_exitcode(status) == 0, "a worker failed"
    return bool(done)


def run(root, kills, workers, seed=0):
    """Disturb jobs until so many kills were survived; jobs and kills."""
    rng = random.Random(seed)
    write_images(root / "images", CASES)
    time.sleep(2.5)  # hashes of files that were written just now are not remembered
    began = time.monotonic()
    assert finished(start(root, root / "undisturbed"))
    seconds = time.monotonic() - began
    expected = tree(root / "undisturbed")
    total, jobs = 0, 0
    while total < kills:
        output = root / f"out{jobs}"
        # a job that is let alone after a few kills ends; some are killed until nothing is left
        few = rng.randint(1, 8)
        total += job(
            root, output, expected, workers=workers, kills=min(few, kills - total), rng=rng,
            seconds=seconds / workers / 2,
        )  # fmt: skip
        jobs += 1
    return jobs, total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pid = os.fork()  # torch is used in children alone: its threads do not survive a fork
        if not pid:
            write_threshold_model(root / "model")
            os._exit(0)
        os.waitpid(pid, 0)
        began = time.monotonic()
        jobs, total = run(root, arguments.kills, arguments.workers, arguments.seed)
        seconds = time.monotonic() - began
    sys.stdout.write(
        f"{total} kills in {jobs} jobs of {CASES} cases, {arguments.workers} workers: nothing "
        f"truncated, lost or done twice, all trees equal; {seconds:.0f} s\n"
    )


if __name__ == "__main__":
    main()
