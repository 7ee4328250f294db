"""Memory and speed of predicting whole volumes.

    python -m benchmarks.predict memory
    python -m benchmarks.predict memory --depths 800 --classes 117 --ways medseg
    python -m benchmarks.predict memory --depths 50 100 --resampled --ways medseg whole
    python -m benchmarks.predict speed --model runs/phantom_b16 --data runs/phantom_b16/cases/test.json

``memory`` predicts volumes of 512 × 512 × depth with a small network, each way in a process of its
own: medseg, the whole-volume way (all logits, then all labels), and MONAI's sliding window over
slices. Peak is the most resident memory of the process, interpreter and libraries included; the
time is that from the file to the label map in memory. With ``--resampled`` the network sees
1.5 × 1.5 × 2 mm of volumes of 0.8 × 0.8 × 1 mm.

``speed`` predicts slices of 512 × 512 with TransUNet R50-ViT-B_16 at 224 (or ``--model``): as the
original's test code does (slice by slice, SciPy's cubic zoom to the input, float32, nearest zoom
back), and as medseg does. Without ``--data`` the slices are noise and labels mean little.
"""  # noqa: E501

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import zoom

from benchmarks.forward import spec_and_network
from benchmarks.predict_ways import Spacing, run_way, small_model, write_input
from medseg.inference.inputs import cases_of
from medseg.inference.native import in_ras
from medseg.inference.predictor import Predictor, PredictSettings, predict_volume
from medseg.loading.preprocessing import scaled
from medseg.metrics import dsc
from medseg.model import LoadedModel
from medseg.volumes import Volume, read_volume

WAYS = ("medseg", "whole", "monai")
RESAMPLED: Spacing = (1.5, 1.5, 2.0)


def measure_memory(args: argparse.Namespace) -> None:
    """Print peak and time of every way, depth and number of classes."""
    heads = f"{'way':8s} {'peak GB':>8s} {'x input':>8s} {'seconds':>8s} {'as medseg':>12s}"
    print(f"{'classes':>7s} {'depth':>5s} {heads}")
    for classes in args.classes:
        peaks: dict[str, list[float]] = {way: [] for way in args.ways}
        for depth in args.depths:
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / "image.nii"
                write_input(source, depth, RESAMPLED if args.resampled else None)
                for way in args.ways:
                    found = in_process(way, source, classes, args)
                    peaks[way].append(found["peak_gb"])
                    same = share_of_equal(
                        source.with_name("medseg.nii"), source.with_name(f"{way}.nii")
                    )
                    ratio = found["peak_gb"] / (512 * 512 * depth * 4 / 1e9)
                    figures = f"{found['peak_gb']:8.2f} {ratio:8.1f} {found['seconds']:8.1f}"
                    print(f"{classes:7d} {depth:5d} {way:8s} {figures} {same:>12s}", flush=True)
        if len(args.depths) > 1:
            print_growth(args.depths, peaks)


def print_growth(depths: list[int], peaks: dict[str, list[float]]) -> None:
    """How much a way's peak grows per slice, in units of a float32 slice of the input."""
    steps = (depths[-1] - depths[0]) * 512 * 512 * 4 / 1e9
    for way, found in peaks.items():
        growth = (found[-1] - found[0]) / steps
        print(f"{'':14s}{way:8s} grows by {growth:.1f} times the float32 input")


def in_process(way: str, source: Path, classes: int, args: argparse.Namespace) -> dict[str, float]:
    """Run one way in a process of its own."""
    output = source.with_name(f"{way}.nii")
    command = [
        sys.executable, "-m", "benchmarks.predict", "one", "--way", way, "--input", str(source),
        "--output", str(output), "--classes", str(classes),
    ]  # fmt: skip
    command += ["--resampled"] if args.resampled else []
    command += ["--max-memory", str(args.max_memory)] if args.max_memory else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} ended with {done.returncode}\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def share_of_equal(one: Path, other: Path) -> str:
    """Which share of the voxels two label maps agree on."""
    if not one.exists() or one == other:
        return ""
    maps = [np.asarray(nib.load(path).dataobj) for path in (one, other)]
    return f"{np.mean(maps[0] == maps[1]):.6%}"


def run_one(args: argparse.Namespace) -> None:
    """What a process of its own does."""
    spacing = RESAMPLED if args.resampled else None
    model = small_model(args.classes[0], 224 if args.resampled else 512, spacing)
    print(json.dumps(run_way(args.way, args.input, args.output, model, args.max_memory)))


def measure_speed(args: argparse.Namespace) -> None:
    """Print time per slice and agreement of the labels."""
    spec, network = spec_and_network(args.model)
    model = LoadedModel(spec, network, {})
    image, label = slices_of(args.data, args.slices)
    ways: dict[str, Callable[[], Volume]] = {
        "slice by slice, SciPy zoom": lambda: by_zoom(model, image),
        "medseg's resizing, float32 module": lambda: predict_volume(model, image, batch_size=1),
    }
    for precision in ("float32", "bfloat16"):
        settings = PredictSettings(device="cpu", precision=precision, batch_size=args.batch_size)
        predictor = Predictor(model, settings)
        predictor(Volume(image.array[..., :2], image.affine))  # chooses its path
        ways[f"medseg, {precision}"] = lambda predictor=predictor: predictor(image)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    for _ in range(args.turns):
        for name, way in ways.items():
            start = time.perf_counter()
            found[name] = way().array
            times[name].append((time.perf_counter() - start) / image.array.shape[2])
    if args.model is None or args.data is None:
        print("random weights or noise: the labels mean little")
    print_speed(times, found, label)


def print_speed(
    times: dict[str, list[float]], found: dict[str, np.ndarray], label: np.ndarray | None
) -> None:
    """Medians of the turns; agreement with both ways that run the network as it is."""
    original, exact = list(found)[:2]
    print(f"{'way':36s} {'ms/slice':>8s} {'ratio':>6s} {'as exact':>10s} {'as zoomed':>10s} DSC")
    for name, labels in found.items():
        median = float(np.median(times[name]))
        ratio = float(np.median(times[original])) / median
        same = [f"{np.mean(labels == found[other]):.4%}" for other in (exact, original)]
        mean = "" if label is None else dsc_beside(labels, found[exact], found[original], label)
        print(f"{name:36s} {1000 * median:8.0f} {ratio:6.2f} {same[0]:>10s} {same[1]:>10s} {mean}")
    print(f"ratio: to {original!r}; exact: {exact!r}, the module as it is; zoomed: {original!r}; "
          "DSC: mean, then gain (+) or loss (-) against exact and zoomed")  # fmt: skip


def dsc_beside(found: np.ndarray, exact: np.ndarray, zoomed: np.ndarray, label: np.ndarray) -> str:
    """Mean DSC, and by how much it is above those of two other ways."""
    mean = mean_dsc(found, label)
    changes = [mean - mean_dsc(other, label) for other in (exact, zoomed)]
    return f"{mean:.4f} {changes[0]:+.4f} {changes[1]:+.4f}"


def mean_dsc(found: np.ndarray, label: np.ndarray) -> float:
    """Over the organs that are in the truth."""
    values = [value for value in np.unique(label) if value]
    return float(np.mean([dsc(found == value, label == value) for value in values]))


def by_zoom(model: LoadedModel, volume: Volume) -> Volume:
    """As ``test_single_volume`` of the original code, with this model's window."""
    prepared = scaled(volume.array, *(model.spec.preprocessing.window or (0.0, 1.0)))
    labels: np.ndarray = np.zeros(volume.array.shape, dtype=np.uint8)
    values = np.array([0, *(model.spec.labels.values() or range(1, 256))], dtype=np.uint8)
    _, height, width = model.spec.geometry.input_shape
    with torch.inference_mode():
        for index in range(labels.shape[2]):
            plane = prepared[:, :, index]
            x, y = plane.shape
            small = zoom(plane, (height / x, width / y), order=3)
            logits = model.network(torch.from_numpy(small)[None, None].float())
            classes = torch.argmax(torch.softmax(logits, dim=1), dim=1)[0].numpy()
            labels[:, :, index] = values[zoom(classes, (x / height, y / width), order=0)]
    return Volume(labels, volume.affine)


def slices_of(data: Path | None, count: int) -> tuple[Volume, np.ndarray | None]:
    """Slices spread over the first cases, zoomed to 512 × 512, and their labels; else noise."""
    if data is None:
        noise = np.random.default_rng(0).normal(50, 100, (512, 512, count))
        return Volume(noise.astype(np.int16), np.diag([0.75, 0.75, 3.0, 1.0])), None
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    per_case = 8
    for case in cases_of(data)[: -(-count // per_case)]:
        if case.label is None:
            raise SystemExit(f"{data}: expected cases with labels")
        read = read_volume(case.image), read_volume(case.label, "label")
        image, label = (in_ras(volume.array, volume.affine) for volume in read)
        factors = [512 / size for size in image.shape[:2]]
        for part in range(per_case):
            index = int((part + 0.5) * image.shape[2] / per_case)
            images.append(zoom(image[:, :, index], factors, order=1))
            labels.append(zoom(label[:, :, index], factors, order=0))
    stacked = np.stack(images[:count], axis=-1)
    return Volume(stacked, np.diag([0.75, 0.75, 3.0, 1.0])), np.stack(labels[:count], axis=-1)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Predicting volumes: memory and speed.")
    parser.add_argument("what", choices=["memory", "speed", "one"])
    parser.add_argument("--depths", type=int, nargs="+", default=[300, 600])
    parser.add_argument("--classes", type=int, nargs="+", default=[9, 14])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--resampled", action="store_true")
    parser.add_argument("--max-memory", type=float, help="GB, for medseg")
    parser.add_argument("--model", type=Path, help="model or run folder; else random weights")
    parser.add_argument("--data", type=Path, help="case list with labels; else noise")
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="of a process of its own")
    parser.add_argument("--input", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads", file=sys.stderr)
    {"memory": measure_memory, "speed": measure_speed, "one": run_one}[args.what](args)


if __name__ == "__main__":
    main()
