"""What happened in every iteration and every epoch, as tables that survive a kill."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medseg.files import write_text

Row = dict[str, float | int | None]


@dataclass
class History:
    """Rows of a training so far; files are written from it, never read back.

    Attributes:
        organs: Organs that are validated, in the order of their columns.
        epochs: One row per finished epoch, with the columns that ``columns`` names; ``None``
            where an epoch had no validation.
        losses: Training loss of every iteration, the first one first.
        rates: Learning rate of every iteration.
    """

    organs: Sequence[str]
    epochs: list[Row] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Columns of ``history.csv``."""
        figures = ["train_loss", "val_loss", "val_dsc", *(f"dsc_{name}" for name in self.organs)]
        return ["epoch", "iteration", *figures, "lr", "seconds"]

    @property
    def validated(self) -> list[Row]:
        """The epochs that had a validation."""
        return [row for row in self.epochs if row["val_loss"] is not None]

    @property
    def best(self) -> Row | None:
        """The first validated epoch of highest DSC."""
        return max(self.validated, key=_score, default=None)

    @property
    def validations_since_best(self) -> int:
        """Validations after the best one."""
        rows, best = self.validated, self.best
        return 0 if best is None else len(rows) - 1 - rows.index(best)

    def add_epoch(self, row: Mapping[str, float | int | None]) -> None:
        """Append an epoch; columns it does not name stay empty."""
        self.epochs.append({name: row.get(name) for name in self.columns})

    def write(self, folder: Path) -> None:
        """Write ``history.csv`` and ``iterations.csv``, each whole or not at all."""
        rows = [[_text(row[name]) for name in self.columns] for row in self.epochs]
        write_text(folder / "history.csv", _csv(self.columns, rows))
        steps = [
            [str(index), _text(loss), _text(rate)]
            for index, (loss, rate) in enumerate(zip(self.losses, self.rates, strict=True), 1)
        ]
        write_text(folder / "iterations.csv", _csv(["iteration", "loss", "lr"], steps))

    def state(self) -> dict[str, Any]:
        """As plain data and tensors for a checkpoint."""
        return {
            "epochs": [dict(row) for row in self.epochs],
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "rates": torch.tensor(self.rates, dtype=torch.float64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.epochs.clear()
        for row in state["epochs"]:
            self.add_epoch(row)
        self.losses[:] = state["losses"].tolist()
        self.rates[:] = state["rates"].tolist()


def _score(row: Row) -> float:
    value = row["val_dsc"]
    return -1.0 if value is None else float(value)


def _text(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
