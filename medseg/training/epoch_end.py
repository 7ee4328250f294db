"""What happens when an epoch's iterations are done: validate, note, deliver, save, draw."""

import logging
import time
from dataclasses import dataclass

from medseg.jobs import Progress
from medseg.model import write_model
from medseg.training.board import Board
from medseg.training.checkpoints import copy_checkpoint, refuse_bad_weights, save_checkpoint
from medseg.training.figures import write_figures
from medseg.training.history import Row
from medseg.training.run import Run
from medseg.training.validation import Loss, Scores, Validation, validate

SECONDS_BETWEEN_FIGURES = 60.0
LOGGER = logging.getLogger("medseg.training")


@dataclass(frozen=True)
class EpochEnd:
    """Called once after each epoch.

    Attributes:
        run: The training.
        validation: What to validate on; ``None``: the last weights are delivered.
        loss: Loss of the validation.
        board: For TensorBoard.
        progress: Hears of the validation.
    """

    run: Run
    validation: Validation | None
    loss: Loss
    board: Board
    progress: Progress

    def __call__(self) -> None:
        """Finish the epoch.

        The best weights are written before the checkpoint that calls them the best: a kill in
        between costs an epoch, and never leaves a run whose best weights are not there.

        Raises:
            UsageError: If a weight is not finite; what was saved before stays.
        """
        run, epoch = self.run, self.run.epochs_done
        refuse_bad_weights(run)
        throughput = run.slices / max(time.monotonic() - run.started, 1e-9)
        scores = self._validate(epoch)
        row = self._row(epoch, scores)
        run.whole = False  # what is noted from here on must be saved as one
        run.history.add_epoch(row)
        run.spent = 0.0
        run.start_clock()
        if run.history.best is run.history.epochs[-1]:
            save_checkpoint(run, run.best)
            deliver(run)
            copy_checkpoint(run.best, run.last)
        else:
            save_checkpoint(run, run.last)
        run.whole = True
        run.history.write(run.folder)
        draw_now_and_then(run)
        self.board.add_epoch(run.history.epochs[-1], throughput)
        _log(run, throughput)

    def _validate(self, epoch: int) -> Scores | None:
        run, last = self.run, self.run.settings.total_epochs(self.run.epoch_length)
        due = epoch % run.settings.validate_every == 0 or epoch == last
        if self.validation is None or not due:
            return None
        return validate(
            run.delivered,
            self.loss,
            self.validation,
            device=run.device,
            precision=run.precision,
            progress=self.progress,
        )

    def _row(self, epoch: int, scores: Scores | None) -> Row:
        run = self.run
        losses = run.history.losses[(epoch - 1) * run.epoch_length : run.iteration]
        row: Row = {
            "epoch": epoch,
            "iteration": run.iteration,
            "train_loss": sum(losses) / len(losses),
            "lr": run.history.rates[-1],
            "seconds": round(run.seconds, 3),
        }
        if scores is not None:
            row |= {"val_loss": scores.loss, "val_dsc": scores.mean_dsc}
            row |= {f"dsc_{organ}": value for organ, value in scores.dsc.items()}
        return row


def draw_now_and_then(run: Run) -> None:
    """Draw the figures when the run ends, and before that no more than once a minute."""
    if run.finished or time.monotonic() - run.drawn_at > SECONDS_BETWEEN_FIGURES:
        write_figures(run.history, run.folder / "figures")
        run.drawn_at = time.monotonic()


def deliver(run: Run) -> None:
    """Write the model folder with the weights as they stand, and where they come from."""
    newest = run.history.epochs[-1] if run.history.epochs else {}
    organs = {organ: newest.get(f"dsc_{organ}") for organ in run.history.organs}
    provenance = run.provenance | {
        "epoch": newest.get("epoch"),
        "iteration": run.iteration,
        "val_dsc": newest.get("val_dsc"),
        "val_dsc_per_organ": organs,
        "averaged_weights": run.average is not None,
        "precision": run.precision,
    }
    write_model(run.folder / "model", run.spec, run.delivered, provenance)


def _log(run: Run, throughput: float) -> None:
    row = run.history.epochs[-1]
    figures = ", ".join(
        f"{name} {row[name]:.4g}"
        for name in ("train_loss", "val_loss", "val_dsc", "seconds")
        if row[name] is not None
    )
    LOGGER.info("epoch %s: %s, %.1f slices/s", row["epoch"], figures, throughput)
