"""Cosmic rays in star fields made by computation: a network beside two ways without learning.

    python -m benchmarks.decam --exposures 60 --model runs/decam_transunet
    python -m benchmarks.decam --train 240 --epochs 30        # train one first, in --folder

All see the same exposures and are scored by the same pixels: the true-positive rate (TPR) at a
false-positive rate (FPR) of 0.01 %, pixels to ignore left out.

* threshold: (image - sky) / noise, what a pixel stands above the sky;
* Laplacian: the Laplacian of the exposure, sampled twice as finely, over the noise that sky, stars
  and read-out make there; the quantity that L.A.Cosmic (van Dokkum, PASP 113 (2001) 1420) cuts at
  ``sigclip``, without its other tests;
* L.A.Cosmic: ``astroscrappy``, whole, with its iterations. It gives masks, not scores, so it is run
  at many values of ``sigclip``, and a pixel's score is the highest value at which it is still
  found. ``objlim``, which spares stars, and ``sigfrac``, which lets hits grow, are chosen from a
  few pairs by the figure on the validation exposures, never on those of the table. It is told the
  read noise, the gain (1) and which pixels are saturated or bad, which no other way is. Its time
  in the table is that of all these runs;
* network: logits of the trained model, whole exposures by overlapping windows.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from medseg.config import train
from medseg.datasets import starfield
from medseg.datasets._starfield.detector import READ_NOISE, Made, make
from medseg.inference.exposures import score_exposure
from medseg.inference.predict import model_folder_of, pick_device
from medseg.metrics import tpr_at_fpr
from medseg.model import read_model

FPR = 1e-4
SIGCLIPS = np.geomspace(1.5, 400, 32)
OBJLIMS, SIGFRACS = (2.0, 5.0), (0.3, 0.5, 1.0)
SATURATION = 57_000.0
Scores = NDArray[np.float32]
Method = Callable[[Made], Scores]


def threshold(one: Made) -> Scores:
    """What a pixel stands above the sky, in standard deviations of its noise."""
    exposure = one.exposure
    signal: Scores = (exposure.image - np.float32(exposure.sky)) / np.float32(exposure.noise)
    return signal


def laplacian(one: Made) -> Scores:
    """Signal-to-noise of the positive Laplacian, as L.A.Cosmic's first step has it."""
    image = one.exposure.image
    fine = np.repeat(np.repeat(image.astype(np.float64), 2, 0), 2, 1)
    padded = np.pad(fine, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    positive = np.maximum(fine - around / 4, 0)
    height, width = image.shape
    coarse = positive.reshape(height, 2, width, 2).mean(axis=(1, 3))
    light = np.maximum(median_filter(image, 5), 0)
    ratio = coarse / (2 * np.sqrt(light + READ_NOISE**2))
    return np.asarray(ratio - median_filter(ratio, 5), dtype=np.float32)


def lacosmic(one: Made, objlim: float, sigfrac: float) -> Scores:
    """The highest ``sigclip`` at which L.A.Cosmic still finds a pixel, 0 where none does."""
    from astroscrappy import detect_cosmics

    image = one.exposure.image
    scores = np.zeros(image.shape, dtype=np.float32)
    for sigclip in SIGCLIPS:
        found, _ = detect_cosmics(
            image, inmask=one.unusable, sigclip=float(sigclip), sigfrac=sigfrac, objlim=objlim,
            gain=1.0, readnoise=READ_NOISE, satlevel=SATURATION, niter=4,
        )  # fmt: skip
        scores[found] = sigclip
    return scores


def best_lacosmic(exposures: Sequence[Made]) -> tuple[str, Method]:
    """L.A.Cosmic with the pair of settings that does best on these exposures."""
    figures = {
        pair: figure(exposures, lambda one, pair=pair: lacosmic(one, *pair))  # type: ignore[misc]
        for pair in product(OBJLIMS, SIGFRACS)
    }
    objlim, sigfrac = max(figures, key=lambda pair: figures[pair])
    name = f"L.A.Cosmic, objlim {objlim:g}, sigfrac {sigfrac:g}"
    return name, lambda one: lacosmic(one, objlim, sigfrac)


def network(folder: Path) -> Method:
    """Logits of a trained model."""
    model, device = read_model(model_folder_of(folder)), pick_device("auto")
    model.network.to(device)
    return lambda one: score_exposure(model, one.exposure, device=device)


def figure(exposures: Sequence[Made], method: Method, fpr: float = FPR) -> float:
    """TPR at the FPR over all pixels of some exposures."""
    scores = np.stack([method(one) for one in exposures])
    label = np.stack([one.exposure.mask for one in exposures if one.exposure.mask is not None])
    ignore = np.stack([one.exposure.ignore for one in exposures])
    return tpr_at_fpr(scores, label, fpr, ignore=ignore)


def made(split: str, number: int, seed: int) -> list[Made]:
    """Exposures of a split of the star field, without writing them."""
    first = starfield.FIRST_INDEX[split]
    return [make(seed, first + index, starfield.SIZE) for index in range(number)]


def trained(folder: Path, exposures: int, epochs: int, batch_size: int, seed: int) -> Path:
    """Write a training set and train ``decam_transunet`` on it; the run's folder."""
    counts = {"train": exposures, "val": 8, "test": 1}
    data = starfield.write(folder / "data", counts=counts, seed=seed)
    print(f"training on {exposures} exposures for {epochs} epochs in {folder}")
    changes = [
        f"data={data}", f"out_dir={folder / 'run'}", f"settings::max_epochs={epochs}",
        f"train_loader::batch_size={batch_size}",
    ]  # fmt: skip
    return train("decam_transunet", changes, overwrite=True)


def main(argv: list[str] | None = None) -> None:
    """Score each way on the same exposures and print a table."""
    parser = argparse.ArgumentParser(description="TPR at 0.01 % FPR on star fields.")
    parser.add_argument("--exposures", type=int, default=60, help="of 256 x 256 pixels, to score")
    parser.add_argument("--model", type=Path, help="run already trained; else one is trained")
    parser.add_argument("--train", type=int, default=0, help="exposures to train on; 0: no network")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark_decam"))
    parser.add_argument("--seed", type=int, default=0, help="of the star field")
    args = parser.parse_args(argv)

    run = args.model
    if run is None and args.train:
        run = trained(args.folder, args.train, args.epochs, args.batch_size, args.seed)
    tuning, test = (made(s, n, args.seed) for s, n in (("val", 8), ("test", args.exposures)))
    methods: dict[str, Method] = {"threshold": threshold, "Laplacian": laplacian}
    name, chosen = best_lacosmic(tuning)
    methods[name] = chosen
    if run is not None:
        methods["network"] = network(run)
    pixels = sum(one.exposure.image.size for one in test)
    hits = sum(int(one.exposure.mask.sum()) for one in test if one.exposure.mask is not None)
    print(f"{len(test)} exposures, {pixels} pixels, {hits} of them cosmic rays")
    print(f"{'':40} TPR at FPR 0.01 %  seconds per exposure")
    for name, method in methods.items():
        start = time.perf_counter()
        found = figure(test, method)
        seconds = (time.perf_counter() - start) / len(test)
        print(f"{name:40} {found:17.4f} {seconds:20.3f}")


if __name__ == "__main__":
    main()
