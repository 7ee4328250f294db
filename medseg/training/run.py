"""One training as it stands: everything a checkpoint holds, and what it is made from."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from medseg.model import ModelSpec
from medseg.training.history import History
from medseg.training.settings import TrainSettings


@dataclass
class Run:
    """A training under way.

    Attributes:
        folder: The run folder.
        network: The network that learns, on its device.
        optimizer: Steps the network's weights.
        settings: How to train.
        spec: What the model folder will say besides the weights.
        history: Everything that happened so far.
        epoch_length: Iterations of a whole epoch.
        device: Where the network is.
        precision: Number format of the forward pass, resolved.
        average: The averaged weights, if they are on.
        scaler: Gradient scaler of float16, once the trainer has made it.
        scaler_state: What a resumed scaler starts from.
        iteration: Iterations done.
        spent: Seconds spent in the epoch under way before the run was last resumed.
        started: When the epoch began or was resumed, by the monotonic clock.
        saved_at: When the last checkpoint was written, by the same clock.
        drawn_at: When the figures were last drawn, by the same clock.
        slices: Slices trained on since ``started``.
        provenance: Plain data for the model card: seed, cases, versions.
        whole: Whether the weights stand between two iterations, and may be saved.
    """

    folder: Path
    network: nn.Module
    optimizer: torch.optim.Optimizer
    settings: TrainSettings
    spec: ModelSpec
    history: History
    epoch_length: int
    device: torch.device
    precision: str
    average: AveragedModel | None = None
    scaler: torch.amp.GradScaler | None = None
    scaler_state: dict[str, Any] = field(default_factory=dict)
    iteration: int = 0
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)
    saved_at: float = field(default_factory=time.monotonic)
    drawn_at: float = field(default_factory=time.monotonic)
    slices: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    whole: bool = True

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint of the best validation."""
        return self.folder / "checkpoints" / "best.pt"

    @property
    def delivered(self) -> nn.Module:
        """The network to validate and to write: the averaged one if averaging is on."""
        return self.network if self.average is None else self.average.module

    @property
    def total_iterations(self) -> int:
        """Iterations of the whole training."""
        return self.settings.total_iterations(self.epoch_length)

    @property
    def epochs_done(self) -> int:
        """Epochs whose iterations are all done, the last and perhaps short one included."""
        if self.iteration >= self.total_iterations:
            return self.settings.total_epochs(self.epoch_length)
        return self.iteration // self.epoch_length

    @property
    def ran_out_of_patience(self) -> bool:
        """Whether the last validations have brought nothing."""
        patience = self.settings.patience
        return patience is not None and self.history.validations_since_best >= patience

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.iteration >= self.total_iterations or self.ran_out_of_patience

    @property
    def seconds(self) -> float:
        """Time spent in the epoch under way."""
        return self.spent + time.monotonic() - self.started

    def start_clock(self) -> None:
        """Begin to count seconds and slices."""
        self.started, self.slices = time.monotonic(), 0

    def rate(self) -> float:
        """Learning rate of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])
