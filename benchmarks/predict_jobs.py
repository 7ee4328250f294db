"""What it costs that a folder job can be stopped, shared and checked.

    python -m benchmarks.predict_jobs

The same cases through the same network, once read, predicted and written in a plain loop and once
by ``medseg.predict`` with its journal, leases, hashes and manifest; in turns, the least of each,
since other programs can only add to it. Then the same command again, which finds everything done.
The same with 50 tiny cases and a network of one layer shows the milliseconds that a case costs.

    python -m benchmarks.predict_jobs --overlap

Twelve phantoms of 512 × 512 × 60 by one process, with and without reading the next case and writing
the last one beside the network; in turns, for the full network and for one of a fraction of its
size, whose share of the time is rather that of a GPU.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from medseg.datasets import phantom
from medseg.inference.predict import Predictor, PredictSettings, predict
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import ModelSpec, build_network, read_model, write_model
from medseg.volumes import Volume, read_volume, write_label_map, write_volume

SETTINGS = PredictSettings(device="cpu", precision="float32")
NETWORK = {
    "_target_": "medseg.networks.transunet.TransUNet", "image_size": 224, "num_classes": 9,
    "variant": "R50-ViT-B_16",
}  # fmt: skip
SMALL = NETWORK | {
    "hidden_size": 96, "num_layers": 2, "num_heads": 4, "mlp_dim": 192, "width_factor": 0.25,
    "decoder_channels": [64, 32, 16, 16, 16],
}  # fmt: skip
TINY = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 9, "kernel_size": 1}
TINY_CASES = 50


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Overhead of a folder job.")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a network of a fraction of the size")
    parser.add_argument("--overlap", action="store_true", help="measure that, and nothing else")
    arguments = parser.parse_args(argv)
    if arguments.overlap:
        _measure_overlap(2 * arguments.cases, (512, 512, 60), arguments.repeats)
        return
    network = SMALL if arguments.small else NETWORK
    shape = (256, 256, arguments.slices)
    one, other, again = _measure(arguments.cases, shape, network, arguments.repeats)
    threads = torch.get_num_threads()
    print(f"{arguments.cases} cases of 256 × 256 × {arguments.slices}, {threads} threads")
    print(f"plain loop {one:.2f} s, job {other:.2f} s: {100 * (other / one - 1):+.2f} %, "
          f"{1000 * (other - one) / arguments.cases:+.1f} ms a case")  # fmt: skip
    print(f"all done already: {again:.2f} s, the model read included")
    one, other, _ = _measure(TINY_CASES, (32, 32, 4), TINY, 2 * arguments.repeats)
    print(f"{TINY_CASES} tiny cases: {1000 * (other - one) / TINY_CASES:+.1f} ms a case")


def _measure_overlap(cases: int, shape: tuple[int, int, int], repeats: int) -> None:
    for name, network, precision in (("small", SMALL, "float32"), ("full", NETWORK, "auto")):
        settings = replace(SETTINGS, precision=precision)
        took: dict[int, list[float]] = {1: [], 2: []}
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            _write_phantoms(root, cases, shape, network)
            for _ in range(repeats):
                for at_once, seconds in took.items():
                    start = time.perf_counter()
                    with patch("medseg.inference.predict.images_at_once", return_value=at_once):
                        done = predict(
                            root / "images", root / "out", model=root / "model", settings=settings
                        )
                    seconds.append(time.perf_counter() - start)
                    shutil.rmtree(root / "out")
        one, two = min(took[1]), min(took[2])
        parts = ", ".join(
            f"{step} {sum(case['timings'][step] for case in done['cases']) / cases:.2f}"
            for step in ("read", "network", "write")
        )
        gain = f"one by one {one:.2f} s, overlapping {two:.2f} s, {one / two:.2f} times"
        print(f"{name} network, {cases} cases of {shape}: {gain}; seconds a case then: {parts}",
              flush=True)  # fmt: skip


def _write_phantoms(
    root: Path, cases: int, shape: tuple[int, int, int], network: dict[str, object]
) -> None:
    _write(root, 0, shape, network)
    phantom.write(root / "phantom", counts={"test": 1}, size=shape)
    (image,) = (case.image for case in phantom.cases(root / "phantom", split="test"))
    (root / "images").mkdir()
    for number in range(cases):
        shutil.copy(str(image), root / "images" / f"case_{number}.nii.gz")
    time.sleep(2.5)  # hashes of files that were written just now are not remembered


def _measure(
    cases: int, shape: tuple[int, int, int], network: dict[str, object], repeats: int
) -> tuple[float, float, float]:
    """Seconds of the plain loop, of the job, and of the job again."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _write(root, cases, shape, network)
        time.sleep(2.5)  # hashes of files that were written just now are not remembered
        plain, jobs, again = [], [], []
        for repeat in range(repeats):
            plain.append(_seconds(_plain, root, root / f"plain{repeat}"))
            jobs.append(_seconds(_job, root, root / f"job{repeat}"))
            again.append(_seconds(_job, root, root / f"job{repeat}"))
    return min(plain), min(jobs), min(again)


def _write(root: Path, cases: int, shape: tuple[int, int, int], network: dict[str, object]) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    spec = ModelSpec(
        network=network,
        labels={f"organ {number}": number for number in range(1, 9)},
        preprocessing=Preprocessing(window=(-125, 275)),
        geometry=SliceGeometry(image_size=(224, 224)),
    )
    write_model(root / "model", spec, build_network(network), {})
    for number in range(cases):
        noise = rng.normal(40, 60, shape).astype(np.int16)
        volume = Volume(noise, np.diag([0.8, 0.8, 3.0, 1.0]))
        write_volume(root / "images" / f"case_{number}.nii.gz", volume)


def _plain(root: Path, output: Path) -> None:
    predictor = Predictor(read_model(root / "model"), SETTINGS)
    for path in sorted((root / "images").iterdir()):
        write_label_map(output / path.name, predictor(read_volume(path)))


def _job(root: Path, output: Path) -> None:
    predict(root / "images", output, model=root / "model", settings=SETTINGS)


def _seconds(run: Callable[[Path, Path], None], root: Path, output: Path) -> float:
    start = time.perf_counter()
    run(root, output)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1:])
