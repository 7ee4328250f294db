"""How far the best HU interval per organ gets on the phantom: it should not get far.

    python benchmarks/phantom_threshold.py --train 24 --test 10

For every organ the interval of HU with the best mean Dice (DSC) over the training cases is
applied to the test cases: to the image as it is, to the image smoothed by a 3x3x3 mean (with an
interval of its own), and to the smoothed image with only the largest connected piece kept. The
intervals are found exhaustively on a lattice of HU, so no interval on it does better.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as connected
from scipy.ndimage import uniform_filter

from medseg.datasets.phantom import LABELS, SIZE, make_case
from medseg.jobs import run_each
from medseg.metrics import dsc

FIRST_TEST_INDEX = 200_000  # where the phantom's test split begins
EDGES = np.arange(-200, 505, 5)  # HU; thresholds that are tried
Voxels = NDArray[np.int16] | NDArray[np.float32]
Labels = NDArray[np.uint8]
Interval = tuple[int, int]
Size = tuple[int, int, int]


def raw(image: NDArray[np.int16]) -> Voxels:
    """The image as it is."""
    return image


def smoothed(image: NDArray[np.int16]) -> Voxels:
    """The mean of 3x3x3 voxels."""
    mean: NDArray[np.float32] = uniform_filter(image.astype(np.float32), 3)
    return mean


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest of the connected pieces of a mask."""
    pieces, number = connected(mask)
    if number == 0:
        return mask
    kept: NDArray[np.bool_] = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return kept


def whole(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All of a mask."""
    return mask


Method = tuple[
    Callable[[NDArray[np.int16]], Voxels], Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
]
METHODS: dict[str, Method] = {
    "interval": (raw, whole),
    "smoothed": (smoothed, whole),
    "largest piece": (smoothed, largest_piece),
}


def interval_dice(values: Voxels, label: Labels, value: int) -> NDArray[np.float64] | None:
    """DSC of every interval ``EDGES[i] <= HU < EDGES[j]`` in one case, or None without the organ.

    Returns:
        Shape (E, E); entries with j <= i are no intervals and hold 0.
    """
    organ = label == value
    if not organ.any():
        return None
    inside = np.concatenate([[0], np.cumsum(np.histogram(values[organ], EDGES)[0])])
    every = np.concatenate([[0], np.cumsum(np.histogram(values, EDGES)[0])])
    hits = inside[None, :] - inside[:, None]
    taken = np.maximum(every[None, :] - every[:, None], 0)
    scores: NDArray[np.float64] = np.maximum(2 * hits / (taken + organ.sum()), 0.0)
    return scores


def best_intervals(cases: list[tuple[Voxels, Labels]]) -> dict[str, Interval]:
    """For every organ, the interval with the best mean DSC over the cases that show it."""
    found = {}
    for organ, value in LABELS.items():
        scores = [interval_dice(values, label, value) for values, label in cases]
        mean = np.mean([one for one in scores if one is not None], axis=0)
        low, high = np.unravel_index(int(np.argmax(mean)), mean.shape)
        found[organ] = (int(EDGES[low]), int(EDGES[high]))
    return found


def thresholding(
    train: list[tuple[NDArray[np.int16], Labels]],
    test: list[tuple[NDArray[np.int16], Labels]],
    method: str,
) -> dict[str, tuple[Interval, float]]:
    """Interval from the training cases and mean DSC on the test cases, per organ."""
    prepare, keep = METHODS[method]
    intervals = best_intervals([(prepare(image), label) for image, label in train])
    scores: dict[str, list[float]] = {organ: [] for organ in LABELS}
    for image, label in test:
        values = prepare(image)
        for organ, value in LABELS.items():
            truth = label == value
            low, high = intervals[organ]
            if truth.any():
                scores[organ].append(dsc(keep((values >= low) & (values < high)), truth))
    return {organ: (intervals[organ], float(np.mean(own))) for organ, own in scores.items()}


def _case(job: tuple[int, int, Size]) -> tuple[NDArray[np.int16], Labels]:
    image, label = make_case(*job)
    return image.array, label.array


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=24, help="cases the intervals come from")
    parser.add_argument("--test", type=int, default=10, help="cases they are scored on")
    parser.add_argument("--size", type=int, nargs=3, default=SIZE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args(argv)
    indices = [*range(args.train), *range(FIRST_TEST_INDEX, FIRST_TEST_INDEX + args.test)]
    jobs = [(args.seed, index, tuple(args.size)) for index in indices]
    made = {
        outcome.item[1]: outcome.unwrap() for outcome in run_each(_case, jobs, workers=args.workers)
    }
    train = [made[index] for index in indices[: args.train]]
    test = [made[index] for index in indices[args.train :]]

    tables = {method: thresholding(train, test, method) for method in METHODS}
    print(
        f"{'DSC on ' + str(args.test) + ' test cases':<24}" + "".join(f"{m:>26}" for m in METHODS)
    )
    for organ in LABELS:
        cells = [tables[method][organ] for method in METHODS]
        row = "".join(f"{score:>10.3f} {interval!s:>15}" for interval, score in cells)
        print(f"{organ:<24}{row}")
    means = [np.mean([score for _, score in tables[method].values()]) for method in METHODS]
    print(f"{'mean':<24}" + "".join(f"{mean:>10.3f} {'':>15}" for mean in means))


if __name__ == "__main__":
    main()
