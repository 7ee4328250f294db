"""Curves of a training as PNG files; Matplotlib is imported when one is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.files import atomic_path
from medseg.training.history import History, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 2000  # a curve of more shows no more

COLOURS = 10  # of Matplotlib's cycle; after them the lines are dashed


def write_figures(history: History, folder: Path) -> None:
    """Draw the loss per iteration, both losses per epoch, and the DSC per organ and epoch."""
    _save(_loss_per_iteration(history), folder / "loss_per_iteration.png")
    _save(_loss_per_epoch(history), folder / "loss_train_val.png")
    if history.validated:
        _save(_dsc_per_organ(history), folder / "dsc_per_organ.png")


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value and the ``window - 1`` before it, of fewer at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _loss_per_iteration(history: History) -> "Figure":
    figure, axes = _axes("Iteration", "Training loss")
    losses = np.asarray(history.losses)
    iterations = np.arange(1, len(losses) + 1)
    step = max(1, len(losses) // MOST_POINTS)
    window = max(1, len(losses) // 50)
    axes.plot(iterations[::step], losses[::step], color="0.75", linewidth=0.6, label="each")
    smooth = running_mean(losses, window)
    axes.plot(iterations[::step], smooth[::step], label=f"mean of {window}")
    axes.legend(frameon=False)
    return figure


def _loss_per_epoch(history: History) -> "Figure":
    figure, axes = _axes("Epoch", "Loss")
    for column, label in (("train_loss", "training"), ("val_loss", "validation")):
        rows = [row for row in history.epochs if row[column] is not None]
        if rows:
            values = [_number(row[column]) for row in rows]
            axes.plot(_epochs(rows), values, marker=".", label=label)
    if history.epochs:
        axes.legend(frameon=False)
    return figure


def _dsc_per_organ(history: History) -> "Figure":
    figure, axes = _axes("Epoch", "DSC on the validation cases")
    figure.set_layout_engine("constrained")  # names of organs may be long
    rows = history.validated
    epochs = _epochs(rows)
    for index, organ in enumerate(history.organs):
        values = [_number(row[f"dsc_{organ}"]) for row in rows]
        style = "-" if index < COLOURS else "--"
        axes.plot(epochs, values, marker=".", linewidth=1, linestyle=style, label=organ)
    means = [_number(row["val_dsc"]) for row in rows]
    axes.plot(epochs, means, color="black", linewidth=2, label="mean")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _axes(x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    figure.subplots_adjust(left=0.1, right=0.97, bottom=0.14, top=0.96)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _epochs(rows: Sequence[Row]) -> list[float]:
    return [_number(row["epoch"]) for row in rows]


def _number(value: float | int | None) -> float:
    return float("nan") if value is None else float(value)
