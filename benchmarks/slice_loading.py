"""Training batches from the slice store against the path of the original TransUNet.

    python -m benchmarks.slice_loading

Both give random augmented 224×224 batches of 24 from the same 512×512 slices, in this process,
on one thread, turn by turn; the figures are medians of the turns. The original path is written
here from its description: one ``.npz`` per slice; half the time turned by quarters and mirrored,
else half the time rotated by up to 20° with SciPy; then zoomed with SciPy, cubic for the image
and nearest for the label.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from medseg.case import Case
from medseg.datasets import phantom
from medseg.loading.augmentation import Augmentation
from medseg.loading.geometry import SliceGeometry
from medseg.loading.loaders import slice_loader
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.store import StoredCase, open_store

BATCH, INPUT = 24, (224, 224)
PREPROCESSING = Preprocessing(window=(-125.0, 275.0))
TURNS_ONLY = Augmentation(
    spatial_probability=0.5, scale=(1.0, 1.0), translate=0.0, elastic_probability=0.0,
    flip_axes=(0, 1), intensity_probability=0.0,
)  # fmt: skip
Item = dict[str, torch.Tensor]


class OriginalSlices(Dataset[Item]):
    """Slices as the original code loads and varies them."""

    def __init__(self, files: Sequence[Path], seed: int = 0) -> None:
        self.files = list(files)
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Item:
        with np.load(self.files[index]) as arrays:
            image, label = arrays["image"], arrays["label"]
        if self.rng.random() > 0.5:
            quarters, axis = int(self.rng.integers(4)), int(self.rng.integers(2))
            image, label = (np.flip(np.rot90(a, quarters), axis) for a in (image, label))
        elif self.rng.random() > 0.5:
            angle = float(self.rng.integers(-20, 20))
            image, label = (
                ndimage.rotate(a, angle, order=0, reshape=False) for a in (image, label)
            )
        factors = INPUT[0] / image.shape[0], INPUT[1] / image.shape[1]
        image = ndimage.zoom(image, factors, order=3)
        label = ndimage.zoom(label, factors, order=0)
        image = image.astype(np.float32)[None]
        return {"image": torch.from_numpy(image), "label": torch.from_numpy(label.astype(np.int64))}


def write_npz(stored: Sequence[StoredCase], folder: Path) -> list[Path]:
    """Write every slice as the original's preprocessing leaves it, uncompressed float32."""
    files = []
    for case in stored:
        classes = np.asarray(case.classes)
        for index, image in enumerate(case.images):
            files.append(folder / f"{case.case_id}_slice{index:03d}.npz")
            np.savez(files[-1], image=image, label=classes[index].astype(np.float32))
    return files


def phantom_cases(folder: Path, count: int, size: tuple[int, int, int]) -> list[Case]:
    """Write phantom cases of one size."""
    phantom.write(folder, counts={"train": count}, size=size)
    return phantom.cases(folder, split="train")


def endless(loader: DataLoader[Item]) -> Iterator[Item]:
    """Batches of one epoch after another."""
    epoch = 0
    while True:
        epoch += 1
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(epoch)
        yield from loader


def slices_per_second(batches: Iterator[Item], count: int) -> float:
    """How many slices come per second over so many batches."""
    start = time.perf_counter()
    slices = sum(len(next(batches)["image"]) for _ in range(count))
    return slices / (time.perf_counter() - start)


def measure_batches(
    folder: Path, count: int, size: tuple[int, int, int], turns: int
) -> dict[str, float]:
    """Slices per second of every path, each the median of its turns."""
    cases = phantom_cases(folder / "data", count, size)
    stored = open_store(cases, PREPROCESSING, phantom.LABELS, root=folder / "store")
    (folder / "npz").mkdir()
    original = OriginalSlices(write_npz(stored, folder / "npz"))
    paths = {
        name: (endless(_store_loader(stored, geometry, augment)), 20)
        for name, geometry, augment in (
            ("store", SliceGeometry(INPUT), Augmentation()),
            ("store, augmented as the original", SliceGeometry(INPUT), TURNS_ONLY),
            ("store, 3 slices as channels", SliceGeometry(INPUT, neighbours=1), Augmentation()),
        )
    }
    paths["original path"] = (
        endless(DataLoader(original, batch_size=BATCH, shuffle=True, drop_last=True)), 3
    )  # fmt: skip
    for batches, _ in paths.values():
        next(batches)  # first imports
    runs = [{name: slices_per_second(*path) for name, path in paths.items()} for _ in range(turns)]
    return {name: statistics.median(run[name] for run in runs) for name in paths}


def measure_opening(folder: Path, count: int = 100) -> float:
    """Seconds to open a store that holds the cases already, per hundred cases."""
    cases = phantom_cases(folder / "data", count, (48, 48, 12))

    def open_again() -> float:
        start = time.perf_counter()
        open_store(cases, PREPROCESSING, phantom.LABELS, root=folder / "store")
        return time.perf_counter() - start

    open_again()
    time.sleep(2.5)  # files that young are hashed once more
    open_again()
    return statistics.median(open_again() for _ in range(5)) * 100 / count


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Slice store against npz and SciPy.")
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 64))
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure_opening(Path(folder) / "opening")
        figures = measure_batches(
            Path(folder) / "batches", args.cases, tuple(args.size), args.turns
        )
    original = figures["original path"]
    print(f"{'training batches of 24':34s} slices/s  ratio")
    for name, speed in figures.items():
        print(f"{name:34s} {speed:8.0f} {speed / original:6.1f}")
    print(f"store against the original path: {figures['store'] / original:.1f} (wanted: 8 or more)")
    print(f"opening the store again: {seconds:.3f} s per 100 cases (wanted: under 1)")


def _store_loader(
    stored: Sequence[StoredCase], geometry: SliceGeometry, augment: Augmentation
) -> DataLoader[Item]:
    return slice_loader(stored, geometry, batch_size=BATCH, batches_per_epoch=50, augment=augment)


if __name__ == "__main__":
    main()
