"""Training curves as SVG that takes its ink from the page, light or dark."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medseg.report.read import Columns, Run

INK, FAINT = "#010203", "#040506"  # stand-ins: the page's own colours take their place
PAGE_COLOURS = {INK: "var(--ink-2)", FAINT: "var(--line)"}
TRAIN, VALIDATION = "#3b82f6", "#f08c00"
POINTS = 400  # at most so many along a curve; longer ones are averaged piece by piece
SIZE_INCHES = (3.8, 2.5)
STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), FAINT),
}


@dataclass(frozen=True)
class Curve:
    """One figure of the training.

    Attributes:
        title: What it shows.
        svg: The drawing, to stand inside a page.
        note: The figure in a sentence, for those who do not see it.
        legend: Name → colour.
    """

    title: str
    svg: str
    note: str
    legend: Mapping[str, str] = field(default_factory=dict)


def training_curves(run: Run, colours: Mapping[str, str]) -> list[Curve]:
    """Loss per iteration, loss per epoch and DSC per epoch, as far as the run has them."""
    curves = (
        _iteration_loss(run.iterations),
        _epoch_loss(run.history),
        _epoch_dsc(run.history, colours),
    )
    return [curve for curve in curves if curve is not None]


def _iteration_loss(iterations: Columns) -> Curve | None:
    if not _defined(iterations, "loss"):
        return None
    loss = np.asarray(iterations["loss"])
    at = np.asarray(iterations.get("iteration", range(1, len(loss) + 1)))
    pieces = np.array_split(np.arange(len(loss)), min(len(loss), POINTS))
    x = [float(at[piece].mean()) for piece in pieces]
    mean = [_over(np.mean, loss[piece]) for piece in pieces]

    def draw(axes: Axes) -> None:
        if len(loss) > POINTS:
            low = [_over(np.min, loss[piece]) for piece in pieces]
            high = [_over(np.max, loss[piece]) for piece in pieces]
            axes.fill_between(x, low, high, color=TRAIN, alpha=0.18, linewidth=0)
        axes.plot(x, mean, color=TRAIN, linewidth=1.4)
        axes.set_xlabel("iteration")
        axes.set_ylabel("training loss")

    title = "Loss per iteration"
    note = f"{len(loss)} iterations; loss {_first(loss):.3f} at first, {_last(loss):.3f} at last"
    if len(loss) > POINTS:
        note += f"; line: mean of about {len(loss) // POINTS} iterations, band: their range"
    return Curve(title, _svg(title, draw), note + ".")


def _epoch_loss(history: Columns) -> Curve | None:
    shown = {
        name: (column, colour)
        for name, column, colour in (
            ("training", "train_loss", TRAIN),
            ("validation", "val_loss", VALIDATION),
        )
        if _defined(history, column)
    }
    if not shown:
        return None

    def draw(axes: Axes) -> None:
        for column, colour in shown.values():
            _line(axes, history, column, colour)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")

    title = "Loss per epoch"
    ends = (f"{name} {_last(history[column]):.3f}" for name, (column, _) in shown.items())
    note = f"At the end: {', '.join(ends)}."
    return Curve(title, _svg(title, draw), note, {name: pair[1] for name, pair in shown.items()})


def _epoch_dsc(history: Columns, colours: Mapping[str, str]) -> Curve | None:
    shown = {
        organ: colour for organ, colour in colours.items() if _defined(history, f"dsc_{organ}")
    }
    has_mean = _defined(history, "val_dsc")
    if not shown and not has_mean:
        return None

    def draw(axes: Axes) -> None:
        for organ, colour in shown.items():
            _line(axes, history, f"dsc_{organ}", colour)
        if has_mean:
            _line(axes, history, "val_dsc", INK, width=2.4)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation DSC")
        axes.set_ylim(top=1.0)

    title = "DSC per epoch and organ"
    legend = {**({"mean": "var(--ink-2)"} if has_mean else {}), **shown}
    note = "Whole validation cases."
    if has_mean:
        values = history["val_dsc"]
        best = int(np.nanargmax(values))
        note = f"Best mean {values[best]:.3f} after epoch {_epochs(history)[best]:g}."
    return Curve(title, _svg(title, draw), note, legend)


def _line(axes: Axes, history: Columns, column: str, colour: str, width: float = 1.5) -> None:
    """Draw a column over the epochs that have it; few points are marked one by one."""
    points = [
        (at, value)
        for at, value in zip(_epochs(history), history[column], strict=True)
        if math.isfinite(value)
    ]
    marker = "o" if len(points) <= 40 else ""
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=width, marker=marker,
              markersize=2 + width / 2)  # fmt: skip


def _svg(title: str, draw: Callable[[Axes], None]) -> str:
    """Draw with matplotlib and turn the file into a part of a page with ids of its own."""
    prefix = re.sub(r"\W+", "-", title.lower())
    with rc_context({**STYLE, "svg.hashsalt": prefix}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r'<svg\1 aria-hidden="true"', text, count=1)
    text = text.replace('xlink:href="#', 'href="#')
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for stand_in, colour in PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    return text


def _epochs(history: Columns) -> Sequence[float]:
    return history.get("epoch") or range(1, len(next(iter(history.values()))) + 1)


def _defined(columns: Columns, name: str) -> bool:
    return any(math.isfinite(value) for value in columns.get(name, ()))


def _over(function: Callable[[np.ndarray], float], values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(function(finite)) if finite.size else math.nan


def _first(values: Sequence[float] | np.ndarray) -> float:
    return float(next(value for value in values if math.isfinite(value)))


def _last(values: Sequence[float] | np.ndarray) -> float:
    return _first(list(values)[::-1])
