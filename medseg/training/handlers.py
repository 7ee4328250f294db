"""What happens around each iteration, as handlers of the trainer's events."""

import math
import time
from collections.abc import Callable

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch.nn.utils import clip_grad_norm_

from medseg.errors import UsageError
from medseg.jobs import Progress
from medseg.training.batches import Batches
from medseg.training.board import Board
from medseg.training.checkpoints import save_checkpoint
from medseg.training.run import Run
from medseg.training.schedules import Schedule

ADVICE = "try a lower learning rate, clip_norm or precision float32"


def attach_handlers(
    trainer: Engine,
    run: Run,
    *,
    schedule: Schedule,
    board: Board,
    progress: Progress,
    check_stop: Callable[[], None],
) -> None:
    """Let a trainer follow the schedule, guard the weights, keep account and save.

    Handlers of one event run in the order in which they are attached. What is counted is
    saved, told and stopped for only once the weights are whole again.
    """
    begin_iteration, end_iteration = Events.ITERATION_STARTED, Events.ITERATION_COMPLETED
    trainer.add_event_handler(Events.STARTED, take_scaler, run)
    trainer.add_event_handler(Events.EPOCH_STARTED, begin_epoch, run)
    trainer.add_event_handler(begin_iteration, set_rate, run, schedule)
    trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, refuse_bad_loss)
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, clip_gradients, run)
    trainer.add_event_handler(end_iteration, keep_account, run, board)
    trainer.add_event_handler(end_iteration, save_now_and_then, run)
    trainer.add_event_handler(end_iteration, tell, run, progress)
    trainer.add_event_handler(end_iteration, check_stop)
    trainer.add_event_handler(end_iteration, end_at_last_iteration, run)


def take_scaler(engine: Engine, run: Run) -> None:
    """Keep the gradient scaler that the trainer has made, and resume it."""
    run.scaler = engine.scaler
    if run.scaler is not None and run.scaler_state:
        run.scaler.load_state_dict(run.scaler_state)


def begin_epoch(engine: Engine, run: Run) -> None:
    """Start the clock, and tell the loader which epoch it is."""
    batches: Batches = engine.data_loader
    batches.set_epoch(engine.state.epoch)
    run.start_clock()


def set_rate(engine: Engine, run: Run, schedule: Schedule) -> None:
    """Set the learning rate of the coming iteration."""
    run.whole = False
    factor = schedule((engine.state.iteration - 1) / run.total_iterations)
    for group in run.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def refuse_bad_loss(engine: Engine) -> None:
    """Stop at a loss that is NaN or infinite, before it reaches the weights.

    Ignite's ``TerminateOnNan`` looks after the step, and ends the training as if it were done.

    Raises:
        UsageError: Saying where it came from and what to try.
    """
    loss = float(engine.state.output["loss"].detach())
    engine.state.loss = loss
    if math.isfinite(loss):
        return
    if not bool(torch.isfinite(engine.state.output["image"]).all()):
        cause = "the images of the batch hold NaN or infinity; run medseg check on the data"
    elif not bool(torch.isfinite(engine.state.output["pred"].detach()).all()):
        cause = f"the network's output is not finite; {ADVICE}"
    else:
        cause = "images and network output are finite, so look at the loss and the labels"
    raise UsageError(f"training failed in iteration {engine.state.iteration}: loss {loss}: {cause}")


def clip_gradients(engine: Engine, run: Run) -> None:
    """Shorten the gradients to ``clip_norm``.

    Raises:
        UsageError: If they are not finite; float16 is let off, its scaler leaves out the step.
    """
    if run.settings.clip_norm is None:
        return
    if run.scaler is not None:
        run.scaler.unscale_(run.optimizer)
    weights = [weight for group in run.optimizer.param_groups for weight in group["params"]]
    norm = clip_grad_norm_(weights, run.settings.clip_norm)
    if run.scaler is None and not bool(torch.isfinite(norm)):
        raise UsageError(
            f"training failed in iteration {engine.state.iteration}: loss {engine.state.loss:.4g}, "
            f"but gradients of norm {float(norm)}; {ADVICE}"
        )


def keep_account(engine: Engine, run: Run, board: Board) -> None:
    """Note what the iteration was, and average the weights; they are whole from here on."""
    if run.average is not None:
        run.average.update_parameters(run.network)
    run.history.losses.append(engine.state.loss)
    run.history.rates.append(run.rate())
    run.iteration = engine.state.iteration
    run.slices += len(engine.state.output["image"])
    engine.state.output = None  # or the last batch would take memory during validation
    run.whole = True
    board.add_iteration(run.iteration, engine.state.loss, run.rate())


def save_now_and_then(run: Run) -> None:
    """Write a checkpoint within a long epoch; at its end there is one anyway."""
    minutes = (time.monotonic() - run.saved_at) / 60
    at_end = run.iteration % run.epoch_length == 0 or run.iteration >= run.total_iterations
    if minutes >= run.settings.checkpoint_every_minutes and not at_end:
        save_checkpoint(run, run.last)
        run.history.write(run.folder)


def tell(engine: Engine, run: Run, progress: Progress) -> None:
    """Say how far the training is and how it goes."""
    note = f"loss {engine.state.loss:.3f}"
    validated = run.history.validated
    if validated and validated[-1]["val_dsc"] is not None:
        note += f" · DSC {validated[-1]['val_dsc']:.3f}"
    progress("Training", run.iteration, run.total_iterations, note)


def end_at_last_iteration(engine: Engine, run: Run) -> None:
    """Cut the last epoch short where the iterations end; it is completed like any other."""
    if run.iteration >= run.total_iterations and run.iteration % run.epoch_length:
        engine.terminate_epoch()
