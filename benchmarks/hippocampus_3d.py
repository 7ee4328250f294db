"""3D networks on the hippocampus: sparse attention beside dense, and TransUNet3D beside others.

    python -m benchmarks.hippocampus_3d attention --data data/hippocampus --iterations 1200
    python -m benchmarks.hippocampus_3d peers --data data/hippocampus --cpu-minutes 30

``attention`` trains ``hippocampus_transunet_3d`` with each kind of attention and several seeds,
all for the same number of iterations. ``peers`` trains each network for as many iterations as
fit into the same CPU time, start of the program and validation included: what an iteration takes
is measured first, and the time that was really spent stands in the table. Every training chooses
among the weights of its four epochs by the validation cases and is scored on the test cases by
``medseg evaluate``.

The command may be stopped and given again: finished runs are kept in ``--out``, one JSON file
each, and an unfinished training goes on from its checkpoint; a config that was changed since
wants another ``--out``. ``--table`` prints what there is. Intervals are of the paired differences
over the test cases, 95 %, by bootstrap; those of several seeds are averaged case by case first.
"""

import argparse
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.training_runs import Place, Plan, Result, iterations_for, result_of
from medseg.evaluation.paired import paired, with_mean

CONFIG = "hippocampus_transunet_3d"
ATTENTIONS = ("dense", "windowed", "axial", "block_sparse")
PEERS = (
    CONFIG,
    "hippocampus_unet_3d",
    "hippocampus_segresnet_3d",
    "hippocampus_swinunetr_3d",
    "hippocampus_transunet",
)
Group = tuple[str, list[Result]]


def main(argv: list[str] | None = None) -> None:
    """Train what is missing and print the table."""
    args = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it stops the training too
    place = Place(args.data, args.out / args.part, args.threads, 60 * args.limit_minutes)
    plans = attention_plans(args) if args.part == "attention" else peer_plans(args, place)
    groups: dict[str, list[Result]] = {}
    for group, plan in plans:
        if args.table and not (place.out / f"{plan.name}.json").exists():
            continue
        result = result_of(plan, place)
        if result is None:
            print(f"{plan.name}: not done within {args.limit_minutes:g} minutes", flush=True)
            continue
        groups.setdefault(group, []).append(result)
        print(f"{plan.name}: DSC {np.mean(result.dsc):.4f}", flush=True)
    print_table(list(groups.items()))


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description="3D networks on the hippocampus.")
    parser.add_argument("part", choices=("attention", "peers"))
    parser.add_argument("--data", type=Path, default=Path("data/hippocampus"))
    parser.add_argument("--out", type=Path, default=Path("runs/hippocampus_3d"))
    parser.add_argument("--networks", nargs="+", default=list(PEERS), help="configs, of peers")
    parser.add_argument("--attentions", nargs="+", default=list(ATTENTIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=1200, help="of each, for attention")
    parser.add_argument("--cpu-minutes", type=float, default=30.0, help="of each, for peers")
    parser.add_argument("--changes", nargs="*", default=[], help="overrides of all runs")
    parser.add_argument("--tta", default="none", help="flips to predict under: left_right, ...")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit-minutes", type=float, default=120.0, help="most for a training")
    parser.add_argument("--table", action="store_true", help="train nothing")
    return parser


def attention_plans(args: argparse.Namespace) -> Iterator[tuple[str, Plan]]:
    """Every kind and seed; all kinds of a seed before the next seed."""
    for seed in args.seeds:
        for kind in args.attentions:
            changes = (f"network::attention={kind}", *args.changes)
            yield kind, Plan(f"{kind}-{seed}", CONFIG, args.iterations, seed, changes, args.tta)


def peer_plans(args: argparse.Namespace, place: Place) -> Iterator[tuple[str, Plan]]:
    """Every network, by as many iterations as fit."""
    for seed in args.seeds:
        for config in args.networks:
            name = Path(config).stem
            if args.table and not (place.out / f"{name}-{seed}.json").exists():
                continue
            iterations = iterations_for(config, args.changes, place, 60 * args.cpu_minutes)
            changes = tuple(args.changes)
            yield name, Plan(f"{name}-{seed}", config, iterations, seed, changes, args.tta)


def print_table(groups: Sequence[Group]) -> None:
    """DSC of every group on the test cases, less that of the first, and what training took."""
    if not groups:
        print("nothing is done yet")
        return
    heads = "".join(
        f"{head:>11s}" for head in (*groups[0][1][0].organs, "mean", "seeds from", "to")
    )
    print(f"\n{'':26s}{heads}  {'less the first, points':24s} iterations  CPU s      s")
    reference = figures_of(groups[0])
    for name, results in groups:
        figures, seeds = figures_of((name, results)), [float(np.mean(one.dsc)) for one in results]
        means = [*figures.mean(axis=0), min(seeds), max(seeds)]
        cpu = np.mean([one.cost.cpu_seconds for one in results])
        clock = np.mean([one.cost.seconds for one in results])
        print(f"{name:26s}" + "".join(f"{mean:11.4f}" for mean in means), end="")
        print(f"  {difference(figures, reference):24s}", end="")
        print(f"{results[0].plan.iterations:11d}{cpu:7.0f}{clock:7.0f}")


def figures_of(group: Group) -> np.ndarray:
    """DSC of organs and their mean, shape (cases, organs + 1), mean over the seeds."""
    return with_mean(np.mean([one.dsc for one in group[1]], axis=0))


def difference(figures: np.ndarray, reference: np.ndarray) -> str:
    """Of the mean DSC, in points, with its interval."""
    if figures is reference or np.array_equal(figures, reference):
        return ""
    found = paired(figures - reference, higher_is_better=True, tolerance=0.001)
    mean, low, high = (100 * part[-1] for part in (found.mean, found.low, found.high))
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    main()
