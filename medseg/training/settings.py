"""How long, how precisely and how carefully to train; plain data."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from medseg.errors import UsageError

PRECISIONS = ("float32", "bfloat16", "float16", "auto")


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained.

    Attributes:
        max_epochs: Passes through the training loader. Exactly one of this and
            ``max_iterations`` is given.
        max_iterations: Optimizer steps; the last epoch is cut short where they end.
        precision: ``"float32"``; ``"bfloat16"``; ``"float16"``, on CUDA only, with scaled
            gradients; or ``"auto"``, the fastest of them that the device does well. Weights and
            loss are float32 in all of them.
        clip_norm: Largest norm of all gradients together; ``None`` clips nothing.
        ema_decay: How much of the averaged weights is kept at each step, such as 0.999, once
            warmed up. The averaged weights are then validated and delivered. ``None``: off.
        patience: Stop after this many validations in a row without a better DSC. ``None``: never.
        validate_every: Epochs from one validation to the next; the last epoch always has one.
        checkpoint_every_minutes: Write a checkpoint within an epoch too, this often.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        seed: Decides everything random in the training; the same seed gives the same weights on
            a CPU. The network's first weights are drawn before, by whoever builds it.
        channels_last: Keep images and the weights of convolutions with channels last in memory;
            faster on most devices.
        resume: Go on from the last checkpoint in the run folder, if there is one.
        overwrite: Delete a run that is in the run folder already.

    Raises:
        UsageError: If the numbers do not make sense.
    """

    max_epochs: int | None = None
    max_iterations: int | None = None
    precision: str = "float32"
    clip_norm: float | None = None
    ema_decay: float | None = None
    patience: int | None = None
    validate_every: int = 1
    checkpoint_every_minutes: float = 10.0
    device: str = "auto"
    seed: int = 0
    channels_last: bool = False
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if (self.max_epochs is None) == (self.max_iterations is None):
            raise UsageError(
                "settings: expected exactly one of max_epochs and max_iterations, "
                f"got {self.max_epochs} and {self.max_iterations}"
            )
        for name in ("max_epochs", "max_iterations", "validate_every", "patience"):
            _check_positive(name, getattr(self, name), whole=True)
        for name in ("clip_norm", "checkpoint_every_minutes"):
            _check_positive(name, getattr(self, name), whole=False)
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UsageError(f"ema_decay must lie between 0 and 1, got {self.ema_decay}")
        if self.resume and self.overwrite:
            raise UsageError("settings: resume goes on with a run, overwrite deletes it; not both")

    def total_iterations(self, epoch_length: int) -> int:
        """Optimizer steps of the whole training with ``epoch_length`` of them in an epoch."""
        if self.max_iterations is not None:
            return self.max_iterations
        return (self.max_epochs or 0) * epoch_length

    def total_epochs(self, epoch_length: int) -> int:
        """Epochs of the whole training, the last of them perhaps a short one."""
        return math.ceil(self.total_iterations(epoch_length) / epoch_length)

    def to_plain(self) -> dict[str, Any]:
        """As a dictionary for JSON; ``TrainSettings(**plain)`` reads it back."""
        return asdict(self)


def _check_positive(name: str, value: float | None, *, whole: bool) -> None:
    if value is None:
        return
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
        wanted = "a whole number of 1 or more" if whole else "a number above 0"
        raise UsageError(f"{name} must be {wanted}, got {value!r}")
