"""DSC and HD95 of a CT with eight organs: medseg against MedPy, MONAI and DeepMind.

    python -m benchmarks.evaluate
    python -m benchmarks.evaluate --skip medpy

A case of 512×512×148 voxels is made in a temporary folder: ellipsoids with the volumes of eight
organs, a prediction with wavy and shifted surfaces, and a far false positive. Every tool works
in a process of its own, on one thread, from the two ``.nii.gz`` files (read in the quickest way,
the same for all but medseg) to DSC and HD95 of all organs; medseg gives HD95 both pooled, as
MedPy, and directed, as MONAI and DeepMind.

CPU seconds are user and system time of that work, without imports. Memory is the most that the
process held at any time less what it held before the first file was opened; the unit is the two
label maps as arrays of one byte per voxel.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

SPACING = (0.75, 0.75, 3.0)  # exact in float32, as headers hold it
ORGANS = {  # volume in ml, half axes relative to each other, centre as share of the volume
    "spleen": (200, (1.0, 1.2, 1.0), (0.74, 0.40, 0.66)),
    "right kidney": (160, (0.8, 0.8, 1.5), (0.33, 0.30, 0.36)),
    "left kidney": (165, (0.8, 0.8, 1.5), (0.66, 0.30, 0.38)),
    "gallbladder": (30, (0.8, 1.0, 1.2), (0.40, 0.66, 0.42)),
    "liver": (1500, (1.3, 1.0, 0.9), (0.31, 0.52, 0.68)),
    "stomach": (250, (1.2, 1.0, 1.0), (0.61, 0.66, 0.66)),
    "aorta": (90, (0.4, 0.4, 4.0), (0.52, 0.42, 0.50)),
    "pancreas": (80, (2.4, 0.7, 0.7), (0.53, 0.57, 0.42)),
}
LABELS = {organ: number for number, organ in enumerate(ORGANS, 1)}
WANTED = {"MedPy": 300, "MONAI one-hot": 40, "MONAI per organ": 20, "DeepMind": 10}
Figures = Mapping[str, Sequence[float]]


def write_case(folder: Path, shape: tuple[int, int, int]) -> tuple[Path, Path]:
    """Write prediction and truth, which depend on nothing but the shape."""
    truth, pred = (np.zeros(shape, dtype=np.uint8, order="F") for _ in range(2))
    for number, (volume_ml, axes, centre) in enumerate(ORGANS.values(), 1):
        radius = (3 * volume_ml * 1000 / (4 * np.pi * np.prod(axes))) ** (1 / 3)
        half = np.multiply(radius, axes) * shape[2] / 148
        draw(truth, number, centre, half, waves=0.0)
        moved = np.add(centre, [0.004 * np.sin(number), 0.004 * np.cos(number), 0.003])
        draw(pred, number, tuple(moved), half, waves=0.05)
    pred[4:12, 5:13, 2:5] = LABELS["liver"]
    paths = folder / "pred.nii.gz", folder / "truth.nii.gz"
    for path, array in zip(paths, (pred, truth), strict=True):
        nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1.0])), path)
    return paths


def draw(
    array: np.ndarray, number: int, centre: Iterable[float], half_mm: np.ndarray, *, waves: float
) -> None:
    """An ellipsoid whose radius swings by a share of itself."""
    middle = np.multiply(list(centre), array.shape)
    reach = np.ceil(1.2 * half_mm / SPACING).astype(int)
    low = np.maximum(middle.astype(int) - reach, 0)
    high = np.minimum(middle.astype(int) + reach + 1, array.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = [
        (np.arange(a, b) - m) * s / h
        for a, b, m, s, h in zip(low, high, middle, SPACING, half_mm, strict=True)
    ]
    x, y, z = np.ix_(*axes)
    radius = np.sqrt(x**2 + y**2 + z**2)
    swing = waves * np.sin(7 * x + number) * np.sin(6 * y) * np.cos(5 * z)
    array[box][radius <= 1 + swing] = number


def by_medseg(pred: Path, truth: Path) -> Callable[[], Figures]:
    """Ours."""
    from medseg.metrics import evaluate_case
    from medseg.volumes import read_volume

    names = ("dsc", "hd95", "hd95_directed")

    def work() -> Figures:
        maps = [read_volume(path, "label") for path in (pred, truth)]
        pred_map, label_map = (each.array for each in maps)
        figures = evaluate_case(pred_map, label_map, maps[1].spacing, LABELS, metrics=names)
        return {organ: tuple(found[name] for name in names) for organ, found in figures.items()}

    return work


def by_medpy(pred: Path, truth: Path) -> Callable[[], Figures]:
    """MedPy on masks of the whole volume."""
    from medpy.metric import binary

    def work() -> Figures:
        maps = _read(pred), _read(truth)
        figures = {}
        for organ, value in LABELS.items():
            masks = [each == value for each in maps]
            figures[organ] = binary.dc(*masks), binary.hd95(*masks, voxelspacing=SPACING)
        return figures

    return work


def by_monai(pred: Path, truth: Path, *, one_hot: bool) -> Callable[[], Figures]:
    """MONAI on all organs at once, or on one channel after the other."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance
    from monai.networks import one_hot as as_one_hot

    torch.set_num_threads(1)

    def both_of(masks: list[torch.Tensor], background: bool) -> tuple[np.ndarray, np.ndarray]:
        dice = compute_dice(*masks, include_background=background)
        far = compute_hausdorff_distance(
            *masks, include_background=background, percentile=95, spacing=list(SPACING)
        )
        return dice[0].numpy(), far[0].numpy()

    def work() -> Figures:
        maps = [torch.from_numpy(_read(path)) for path in (pred, truth)]
        if one_hot:
            both = both_of([as_one_hot(each[None, None], len(LABELS) + 1) for each in maps], False)
            return dict(
                zip(LABELS, zip(*(part.tolist() for part in both), strict=True), strict=True)
            )
        figures = {}
        for organ, value in LABELS.items():
            dice, far = both_of([(each == value)[None, None] for each in maps], True)
            figures[organ] = float(dice[0]), float(far[0])
        return figures

    return work


def by_deepmind(pred: Path, truth: Path) -> Callable[[], Figures]:
    """DeepMind's surface-distance, which crops each organ itself."""
    import surface_distance as deepmind

    def work() -> Figures:
        maps = _read(pred), _read(truth)
        figures = {}
        for organ, value in LABELS.items():
            found, label = (each == value for each in maps)
            distances = deepmind.compute_surface_distances(label, found, SPACING)
            figures[organ] = (
                float(deepmind.compute_dice_coefficient(label, found)),
                float(deepmind.compute_robust_hausdorff(distances, 95)),
            )
        return figures

    return work


TOOLS: dict[str, Callable[[Path, Path], Callable[[], Figures]]] = {
    "medseg": by_medseg,
    "DeepMind": by_deepmind,
    "MONAI per organ": lambda pred, truth: by_monai(pred, truth, one_hot=False),
    "MONAI one-hot": lambda pred, truth: by_monai(pred, truth, one_hot=True),
    "MedPy": by_medpy,
}


def measure(tool: str, pred: Path, truth: Path, times: int) -> dict[str, object]:
    """CPU seconds, bytes above the start and figures of one tool in this process."""
    work = TOOLS[tool](pred, truth)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    start = time.process_time()
    for _ in range(times):
        figures = work()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "bytes": peak - before, "figures": figures}


def in_process_of_its_own(tool: str, files: tuple[Path, Path], times: int = 1) -> dict[str, object]:
    """The same, free of what other tools left in memory."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.evaluate", "--tool", tool]
    command += ["--times", str(times), "--files", *map(str, files)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads
    )
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def difference(ours: Figures, theirs: Figures, place: int) -> float:
    """Largest difference of the DSC and of the HD95 that stands at ``place`` in ours."""
    pairs = [
        (ours[organ][k], theirs[organ][j]) for organ in LABELS for k, j in ((0, 0), (place, 1))
    ]
    return max(abs(mine - other) for mine, other in pairs)


def print_comparison(files: tuple[Path, Path], skip: list[str], unit: int, turns: int) -> None:
    """Time, memory and agreement of every tool."""
    ours = [in_process_of_its_own("medseg", files) for _ in range(turns)]
    mine = min(float(str(each["seconds"])) for each in ours)
    print(f"{'DSC and HD95 of eight organs':30s} {'CPU s':>8s} {'ratio':>7s} {'wanted':>7s} "
          f"{'memory':>7s} {'differs by':>11s}")  # fmt: skip
    memory = max(int(str(each["bytes"])) for each in ours) / unit
    print(f"{'medseg (both HD95)':30s} {mine:8.3f} {1:7.1f} {'':7s} {memory:7.2f}", flush=True)
    for tool in TOOLS:
        if tool == "medseg" or tool.lower() in skip:
            continue
        other = in_process_of_its_own(tool, files)
        seconds, used = float(str(other["seconds"])), int(str(other["bytes"])) / unit
        off = difference(ours[0]["figures"], other["figures"], 1 if tool == "MedPy" else 2)  # type: ignore[arg-type]
        print(f"{tool:30s} {seconds:8.2f} {seconds / mine:7.1f} {WANTED[tool]:7d} "
              f"{used:7.2f} {off:11.1e}", flush=True)  # fmt: skip
    print(f"medseg's memory: {memory:.2f} times the two label maps (wanted: 3 or less)")
    dozen = float(str(in_process_of_its_own("medseg", files, times=12)["seconds"]))
    print(f"medseg, 12 such cases: {dozen:.2f} CPU s (wanted: 4 or less)")
    print("DeepMind weighs HD95 by area, so that its figures are others on purpose")


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="DSC and HD95: medseg, MedPy, MONAI, DeepMind.")
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 148))
    parser.add_argument("--skip", nargs="*", default=[], help="tools to leave out, e.g. medpy")
    parser.add_argument("--turns", type=int, default=3, help="of medseg; the quickest counts")
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.tool:
        print(json.dumps(measure(args.tool, args.files[0], args.files[1], args.times)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = write_case(Path(folder), tuple(args.size))
        skip = [name.lower() for name in args.skip]
        print_comparison(files, skip, 2 * int(np.prod(args.size)), args.turns)


def _read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, dtype=np.uint8)


if __name__ == "__main__":
    main()
