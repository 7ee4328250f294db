"""Curves for TensorBoard."""

from pathlib import Path
from types import TracebackType
from typing import Any

from medseg.training.history import Row


class Board:
    """Writes TensorBoard events while its block lasts; the writer is imported on entry.

    Args:
        folder: Where the events go.
        first: First iteration to be written; events from it on, left by a run that was killed
            after its last checkpoint, are hidden.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.folder = folder
        self.first = first
        self._writer: Any = None

    def __enter__(self) -> "Board":
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=self.first)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    def add_iteration(self, iteration: int, loss: float, rate: float) -> None:
        """Write the training loss and the learning rate of an iteration."""
        self._writer.add_scalar("iteration/loss", loss, iteration)
        self._writer.add_scalar("iteration/lr", rate, iteration)

    def add_epoch(self, row: Row, slices_per_second: float) -> None:
        """Write the figures of an epoch, at its last iteration."""
        iteration = row["iteration"]
        for name, value in row.items():
            if value is not None and name not in ("epoch", "iteration", "lr"):
                self._writer.add_scalar(f"epoch/{name}", value, iteration)
        self._writer.add_scalar("epoch/slices_per_second", slices_per_second, iteration)
        self._writer.flush()
