"""Every kind of attention beside dense attention: time, peak memory, and how both grow.

    python -m benchmarks.attention
    python -m benchmarks.attention --full --plot docs/images/attention.png

One layer of width 192 with 6 heads, forward and backward, its linear layers included, on cubes of
tokens. The kinds take turns in one process and the best turn counts, of dense attention as well.
Memory is the largest sum of all tensors in use at once, without the input and the parameters.
Dense attention is PyTorch's fused one, whose memory is linear already. ``--full`` goes on to 32³.
``--shared`` is for a machine that others use too: one thread, and the time that it had the CPU.

Where there is a GPU, the same follows on it in bfloat16, from 16³ to 48³.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.inference.memory import PeakBytes
from medseg.networks.layers.attention import GridAttention, make_attention

CHANNELS, HEADS = 192, 6
SIDES, LARGEST, GPU_SIDES = (8, 12, 16, 20, 24), 32, (16, 24, 32, 48)
MOST_MEMORY = 4  # times that of dense attention


@dataclass(frozen=True)
class Way:
    """One row of the table, and what it should reach."""

    name: str
    kind: str
    layer_index: int = 0
    ratio: float | None = None  # times faster than dense attention at 32³
    exponent: float | None = None  # of seconds over tokens, from 8³ to 24³


WAYS = (
    Way("dense", "dense"),
    Way("windowed", "windowed", 0, 50, 1.15),
    Way("windowed, shifted", "windowed", 1, 50, 1.15),
    Way("window + grid", "window_grid", 0, 20, 1.15),
    Way("axial", "axial", 0, 50, 1.4),
    Way("plane + depth", "plane_depth", 0, None, 1.6),
    Way("block-sparse", "block_sparse", 0, 20, 1.15),
)
DENSE = WAYS[0].name


@dataclass(frozen=True)
class Figure:
    """What one forward and backward pass costs."""

    seconds: float
    bytes: float


Clock = Callable[[], float]
Figures = dict[int, dict[str, Figure]]  # by the side of the cube, then by way


def one_pass(layer: GridAttention, tokens: torch.Tensor, side: int, clock: Clock) -> float:
    """Seconds of a forward and a backward pass, which leaves its gradients behind."""
    layer.zero_grad()
    tokens.grad = None
    start = clock()
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.is_cuda):
        out = layer(tokens, (side, side, side))
    out.backward(out.detach())
    if tokens.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def peak_bytes(layer: GridAttention, tokens: torch.Tensor, side: int) -> float:
    """Most bytes of tensors at once in a forward and a backward pass."""
    if tokens.is_cuda:
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        one_pass(layer, tokens, side, time.perf_counter)
        return float(torch.cuda.max_memory_allocated() - held)
    with PeakBytes() as peak:
        one_pass(layer, tokens, side, time.perf_counter)
    return float(peak.most)


def measure(
    side: int, turns: int, device: str = "cpu", clock: Clock = time.perf_counter
) -> dict[str, Figure]:
    """Seconds and bytes of every way on a cube of tokens."""
    torch.manual_seed(0)
    tokens = torch.randn(1, side**3, CHANNELS, device=device, requires_grad=True)
    layers = {
        way.name: make_attention(way.kind, CHANNELS, HEADS, layer_index=way.layer_index).to(device)
        for way in WAYS
    }
    peaks, calls = {}, {}
    for name, layer in layers.items():  # first passes, and how many make a turn of 1 s
        start = time.perf_counter()
        peaks[name] = peak_bytes(layer, tokens, side)
        calls[name] = max(1, min(20, int(1 / (time.perf_counter() - start))))
    best = dict.fromkeys(layers, math.inf)
    for _ in range(turns):
        for name, layer in layers.items():
            for _ in range(calls[name]):
                best[name] = min(best[name], one_pass(layer, tokens, side, clock))
    return {name: Figure(best[name], peaks[name]) for name in layers}


def exponent(figures: Figures, name: str) -> float:
    """How seconds grow with tokens, from the smallest cube to 24³, or the largest below."""
    first, last = min(figures), max(side for side in figures if side <= max(SIDES))
    grown = figures[last][name].seconds / figures[first][name].seconds
    return math.log(grown) / (3 * math.log(last / first))


def table(figures: Figures) -> list[str]:
    """A Markdown table of all ways."""
    sides, largest = sorted(figures), max(figures)
    shown = [side for side in sides if side in (min(sides), 16, 24, largest)]
    head = ["attention", *(f"{side}³, ms" for side in shown), f"times faster at {largest}³"]
    head += ["exponent", f"peak at {largest}³, MB", "of dense"]
    lines = [head, ["---"] * len(head)]
    for way in WAYS:
        own, dense = figures[largest][way.name], figures[largest][DENSE]
        lines.append([
            way.name,
            *(f"{1000 * figures[side][way.name].seconds:,.1f}" for side in shown),
            f"{dense.seconds / own.seconds:.1f}" + _wanted(way.ratio, "≥", largest == LARGEST),
            f"{exponent(figures, way.name):.2f}" + _wanted(way.exponent, "≤", min(sides) == 8),
            f"{own.bytes / 1e6:,.0f}",
            f"{own.bytes / dense.bytes:.2f}",
        ])  # fmt: skip
    return ["| " + " | ".join(line) + " |" for line in lines]


def missed(figures: Figures) -> list[str]:
    """What should have been reached and was not."""
    found = []
    for way in WAYS[1:]:
        for side, row in sorted(figures.items()):
            memory = row[way.name].bytes / row[DENSE].bytes
            if memory > MOST_MEMORY:
                found.append(f"{way.name}: {memory:.1f} times the memory of dense at {side}³")
        if way.exponent is not None and exponent(figures, way.name) > way.exponent:
            found.append(f"{way.name}: exponent {exponent(figures, way.name):.2f}")
        if way.ratio is not None and LARGEST in figures:
            row = figures[LARGEST]
            ratio = row[DENSE].seconds / row[way.name].seconds
            if ratio < way.ratio:
                found.append(f"{way.name}: only {ratio:.1f} times faster at {LARGEST}³")
    return found


def draw(figures: Figures, path: Path) -> None:
    """Seconds and megabytes over tokens, both axes logarithmic, as a PNG file."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(10, 4.2), layout="constrained")
    seconds, memory = canvas.subplots(1, 2)
    sides = sorted(figures)
    tokens = [side**3 for side in sides]
    for way in WAYS:
        own = [figures[side][way.name] for side in sides]
        style = {"color": "black", "linewidth": 2.5} if way.name == DENSE else {}
        seconds.loglog(tokens, [one.seconds for one in own], "o-", label=way.name, **style)
        memory.loglog(tokens, [one.bytes / 1e6 for one in own], "o-", label=way.name, **style)
    for axes, label in ((seconds, "seconds, forward and backward"), (memory, "peak memory, MB")):
        axes.set_xticks(tokens, [f"{side}³" for side in sides])
        axes.minorticks_off()
        axes.set(xlabel="tokens", ylabel=label)
        axes.grid(alpha=0.3)
    seconds.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)


def report(
    sides: Sequence[int], turns: int, device: str = "cpu", clock: Clock = time.perf_counter
) -> Figures:
    """Measure cube after cube and print the table."""
    figures: Figures = {}
    for side in sides:
        figures[side] = measure(side, turns, device, clock)
        dense = figures[side][DENSE].seconds
        print(f"{side}³ done, dense attention {dense:.3f} s", flush=True)
    print("\n".join(table(figures)))
    return figures


def main(argv: list[str] | None = None) -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description="Sparse attention beside dense attention.")
    parser.add_argument("--full", action="store_true", help=f"go on to {LARGEST}³ tokens")
    parser.add_argument("--sides", type=int, nargs="+", help="other cubes than these")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--shared", action="store_true", help="one thread, seconds of CPU")
    parser.add_argument("--plot", type=Path, help="PNG file to draw")
    args = parser.parse_args(argv)
    threads, clock = (1, time.process_time) if args.shared else (2, time.perf_counter)
    torch.set_num_threads(threads)
    said = "seconds of CPU" if args.shared else "seconds"
    print(f"torch {torch.__version__}, {said}, threads: {threads}; width {CHANNELS}, {HEADS} heads")
    figures = report(args.sides or SIDES + (LARGEST,) * args.full, args.turns, "cpu", clock)
    for line in missed(figures) or ["all that was wanted is reached"]:
        print(line)
    if args.plot:
        draw(figures, args.plot)
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}, bfloat16")
        report(GPU_SIDES, args.turns, "cuda")
    else:
        print("no GPU here: the figures in bfloat16 were not measured")


def _wanted(value: float | None, sign: str, applies: bool) -> str:
    return "" if value is None or not applies else f" ({sign} {value:g})"


if __name__ == "__main__":
    main()
