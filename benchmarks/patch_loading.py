"""Training patches from the store against MONAI's transforms on cached volumes.

    python -m benchmarks.patch_loading

Both give random augmented patches of the same phantom volumes, in this process, on one thread,
turn by turn; the figures are medians of the turns. MONAI's side is what its tutorials do: volumes
cached in memory (``CacheDataset``), patches with half of them on an organ, an affine, and
intensities; every change of place of ours is in one warp besides, elastic ones included.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import (
    Compose,
    EnsureTyped,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)

from benchmarks.slice_loading import PREPROCESSING, endless, phantom_cases, slices_per_second
from medseg.datasets import phantom
from medseg.loading.geometry import PatchGeometry
from medseg.loading.patches import patch_loader
from medseg.loading.store import StoredCase, open_store
from medseg.loading.volume_augmentation import VolumeAugmentation

BATCH = 2
KEYS = ["image", "label"]


def monai_batches(stored: Sequence[StoredCase], size: tuple[int, int, int]) -> Iterator[Any]:
    """Endless batches of MONAI's."""
    data = [
        {
            "image": case.images.transpose(1, 2, 0)[None],
            "label": np.asarray(case.classes).transpose(1, 2, 0)[None],
        }
        for case in stored
    ]
    cached = Compose([EnsureTyped(KEYS), SpatialPadd(KEYS, size)])
    varied = Compose([
        RandCropByPosNegLabeld(KEYS, "label", size, pos=1, neg=1, num_samples=1),
        RandAffined(
            KEYS, prob=0.85, rotate_range=[0.35] * 3, scale_range=[0.2] * 3,
            translate_range=[0.06 * side for side in size], mode=["bilinear", "nearest"],
            padding_mode="zeros",
        ),
        RandAdjustContrastd("image", prob=0.25, gamma=(0.7, 1.5)),
        RandScaleIntensityd("image", 0.25, prob=0.25),
        RandShiftIntensityd("image", 0.1, prob=0.25),
        RandGaussianNoised("image", prob=0.25, std=0.05),
    ])  # fmt: skip
    dataset = CacheDataset(data, Compose([cached, varied]), progress=False)
    while True:
        yield from DataLoader(dataset, batch_size=BATCH, shuffle=True)


def measure(folder: Path, size: tuple[int, int, int], turns: int, count: int) -> dict[str, float]:
    """Patches per second of every path, each the median of its turns."""
    cases = phantom_cases(folder / "data", 4, (160, 160, 96))
    stored = open_store(cases, PREPROCESSING, phantom.LABELS, root=folder / "store")

    def ours(augment: VolumeAugmentation | None) -> Iterator[Any]:
        return endless(
            patch_loader(
                stored, PatchGeometry(size), batch_size=BATCH, batches_per_epoch=100,
                augment=augment,
            )
        )  # fmt: skip

    paths: dict[str, Callable[[], Iterator[Any]]] = {
        "store": lambda: ours(VolumeAugmentation()),
        "store, not augmented": lambda: ours(None),
        "MONAI, cached": lambda: monai_batches(stored, size),
    }
    batches = {name: path() for name, path in paths.items()}
    for each in batches.values():
        next(each)  # first imports
    runs = [
        {name: slices_per_second(each, count) for name, each in batches.items()}
        for _ in range(turns)
    ]
    return {name: statistics.median(run[name] for run in runs) for name in batches}


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Patches from the store against MONAI's.")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"{'training patches':26s} {'size':>14s} patches/s  ratio")
    for size in ((40, 56, 40), (96, 96, 64)):
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(Path(folder), size, args.turns, count=8)
        for name, speed in figures.items():
            shown = " x ".join(map(str, size))
            print(f"{name:26s} {shown:>14s} {speed:9.1f} {speed / figures['MONAI, cached']:6.1f}")


if __name__ == "__main__":
    main()
