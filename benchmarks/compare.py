"""How long the statistics of a comparison take: 100 cases, 13 organs, 10,000 resamples, 2 models.

    python -m benchmarks.compare

The first figure is of the statistics alone: the interval of every mean of both models and of
every paired difference, the tests with their correction, and the ranks. The second is of
``compare`` as a whole, files included, on one metric and on four.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from medseg.evaluation.compare import compare
from medseg.evaluation.paired import paired, ranking, significant, with_mean
from medseg.evaluation.statistics import confidence

METRICS = ("dsc", "hd95", "nsd_1mm", "nsd_2mm")


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds that a comparison takes.")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--organs", type=int, default=13)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args(argv)

    models = two_models(args.cases, args.organs)
    said = f"{args.cases} cases, {args.organs} organs, {args.resamples:,} resamples, 2 models"
    print(f"{said}; seconds of CPU, best of {args.turns}")
    seconds = best(lambda: statistics(models, args.resamples), args.turns)
    print(f"statistics, metrics: 1         {seconds:5.2f} (wanted: under 5)")
    with tempfile.TemporaryDirectory() as folder:
        files = [write_results(Path(folder) / str(index), own) for index, own in enumerate(models)]
        out = Path(folder) / "out"
        for metrics in (METRICS[:1], METRICS):
            call = partial(compare, files, out, metrics=metrics, resamples=args.resamples)
            print(f"compare with files, metrics: {len(metrics)} {best(call, args.turns):5.2f}")


def two_models(cases: int, organs: int) -> list[np.ndarray]:
    """DSC of two models on the same cases, shape (cases, organs)."""
    rng = np.random.default_rng(0)
    hardness = rng.normal(2, 0.7, organs) + rng.normal(0, 0.6, (cases, 1))
    return [1 / (1 + np.exp(-hardness - rng.normal(0, 0.4, (cases, organs)))) for _ in range(2)]


def statistics(models: list[np.ndarray], resamples: int) -> None:
    """All that a comparison computes of one metric."""
    figures = [with_mean(own) for own in models]
    for own in figures:
        confidence(own, resamples=resamples)
    found = paired(
        figures[1] - figures[0], higher_is_better=True, tolerance=0.001, resamples=resamples
    )
    significant([found.p[None]], alpha=0.05)
    ranking(
        np.stack([own[:, -1] for own in figures], 1), higher_is_better=True, resamples=resamples
    )


def write_results(folder: Path, dsc: np.ndarray) -> Path:
    """The figures as ``results.json``, other metrics made up from DSC."""
    organs = [f"organ {index}" for index in range(dsc.shape[1])]
    shares = {"unit": "1", "better": "higher", "convention": "made up", "headline": True}
    metrics = {key: {"name": key, **shares} for key in METRICS}
    metrics["hd95"] |= {"unit": "mm", "better": "lower"}
    cases = [
        {
            "case_id": f"case_{index}",
            "diagonal_mm": 500.0,
            "organs": {
                organ: {"status": "scored", "dsc": share, "hd95": 50 * (1 - share),
                        "nsd_1mm": share**0.5, "nsd_2mm": share**0.3}
                for organ, share in zip(organs, row.tolist(), strict=True)
            },
        }
        for index, row in enumerate(dsc)
    ]  # fmt: skip
    labels = {organ: value for value, organ in enumerate(organs, 1)}
    folder.mkdir()
    content = {"version": "0", "labels": labels, "metrics": metrics, "cases": cases}
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def best(function: Callable[[], object], turns: int) -> float:
    """Seconds of CPU time of the quickest turn."""
    times = []
    for _ in range(turns):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
