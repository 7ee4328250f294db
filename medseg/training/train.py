"""Train a network: MONAI's supervised trainer, with handlers that make a run safe to stop."""

import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.utils.data import DataLoader

import medseg
from medseg.errors import ModelError, ResourceError, StoppedError, UsageError
from medseg.inference.predict import pick_device
from medseg.jobs import Progress, silent
from medseg.model import ModelSpec, read_model
from medseg.training.batches import Batches
from medseg.training.board import Board
from medseg.training.checkpoints import (
    check_folder,
    clear_folder,
    clear_leftovers,
    copy_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from medseg.training.ema import averaged
from medseg.training.epoch_end import EpochEnd, deliver
from medseg.training.handlers import attach_handlers
from medseg.training.history import History
from medseg.training.precision import Forward, pick_precision, to_channels_last
from medseg.training.run import Run
from medseg.training.schedules import Schedule
from medseg.training.settings import TrainSettings
from medseg.training.stop import StopRequest
from medseg.training.validation import Loss, Validation


def train(
    network: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    train_loader: "DataLoader[Any]",
    *,
    schedule: Schedule,
    validation: Validation | None,
    settings: TrainSettings,
    model: ModelSpec,
    out_dir: str | Path,
    progress: Progress = silent,
) -> Path:
    """Train a network and return the run folder.

    Args:
        network: (B, channels, H, W) to logits (B, C, H, W); it is trained in place.
        loss: ``loss(logits, label)``, a scalar.
        optimizer: Over the network's weights; its rates are the schedule's base rates.
        train_loader: Batches ``{"image": (B, channels, H, W), "label": (B, H, W)}``.
        schedule: Progress in [0, 1] → factor of the base rates, set for every iteration.
        validation: Whole cases to choose the best weights by; ``None`` delivers the last ones.
        settings: How long, how precisely, how carefully.
        model: What the model folder says besides the weights.
        out_dir: The run folder; it gets ``model/``, ``checkpoints/``, ``history.csv``,
            ``iterations.csv``, ``figures/`` and ``tensorboard/``.
        progress: Hears of every iteration.

    Raises:
        ModelError: If the checkpoint to resume from is damaged or of another network.
        ResourceError: If memory or disk ran out.
        StoppedError: If the user stopped it; the last checkpoint says where.
        UsageError: If the settings do not fit, the folder holds a run, or the loss, the
            gradients or the weights become NaN or infinite.
    """
    folder = Path(out_dir)
    check_folder(folder, resume=settings.resume, overwrite=settings.overwrite)
    run = _prepare(
        network, optimizer, loader=train_loader, validation=validation, settings=settings,
        model=model, folder=folder,
    )  # fmt: skip
    if isinstance(loss, nn.Module):
        loss.to(run.device)
    with StopRequest() as stop, _told_plainly(run, stop):
        _begin(run)
        with Board(folder / "tensorboard", run.iteration + 1) as board:
            listen = _stoppable(progress, stop)
            end = EpochEnd(run, validation, loss, board, listen)
            if len(run.history.epochs) < run.epochs_done:  # stopped during its validation
                end()
            if not run.finished:
                trainer = _trainer(run, loss, train_loader)
                attach_handlers(
                    trainer, run, schedule=schedule, board=board, progress=progress,
                    check_stop=stop.check,
                )  # fmt: skip
                _at_epoch_end(trainer, run, end)
                _run(trainer, run)
        if run.history.best is None:
            deliver(run)
    return folder


def _prepare(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    loader: "DataLoader[Any]",
    validation: Validation | None,
    settings: TrainSettings,
    model: ModelSpec,
    folder: Path,
) -> Run:
    if len(loader) == 0:
        raise UsageError("training: expected at least one batch, got an empty loader")
    device = pick_device(settings.device)
    network.to(device)
    if settings.channels_last:
        to_channels_last(network)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return Run(
        folder=folder,
        network=network,
        optimizer=optimizer,
        settings=settings,
        spec=model,
        history=History(list(validation.labels) if validation else []),
        epoch_length=len(loader),
        device=device,
        precision=pick_precision(settings.precision, device, _axes(network)),
        average=averaged(network, settings.ema_decay) if settings.ema_decay else None,
        provenance=_provenance(loader, validation, optimizer, settings),
    )


def _axes(network: nn.Module) -> int:
    """Axes that the network's convolutions run over, most at once: 3 for volumes, else 2."""
    return 3 if any(parameter.ndim == 5 for parameter in network.parameters()) else 2


def _begin(run: Run) -> None:
    """Clear the folder, or go on from its last checkpoint."""
    if run.settings.overwrite:
        clear_folder(run.folder)
    clear_leftovers(run.folder)
    run.whole = False
    if run.best.exists():
        _mend_model(run)
        if not run.last.exists():
            copy_checkpoint(run.best, run.last)
    if run.last.exists():
        load_checkpoint(run, run.last)
        run.history.write(run.folder)
    run.whole = True


def _mend_model(run: Run) -> None:
    """Write the model folder anew from the best checkpoint if a kill left it half-written."""
    try:
        read_model(run.folder / "model")
    except ModelError:
        load_checkpoint(run, run.best)
        deliver(run)


def _trainer(run: Run, loss: Loss, loader: "DataLoader[Any]") -> SupervisedTrainer:
    """MONAI's trainer, set to where the run is."""
    settings, done = run.settings, run.iteration
    trainer = SupervisedTrainer(
        device=run.device,
        max_epochs=settings.total_epochs(run.epoch_length),
        train_data_loader=Batches(loader, settings.seed, skip=done % run.epoch_length),
        network=run.network,
        optimizer=run.optimizer,
        loss_function=loss,
        epoch_length=run.epoch_length,
        non_blocking=run.device.type == "cuda",
        inferer=Forward(run.precision, channels_last=settings.channels_last),
        amp=run.precision == "float16",  # for its gradient scaler
        decollate=False,
        optim_set_to_none=True,
    )
    trainer.state.iteration, trainer.state.epoch = done, done // run.epoch_length
    trainer.logger = logging.getLogger("medseg.training.engine")
    trainer.logger.disabled = True  # errors are raised as well; told once is enough
    return trainer


def _run(trainer: SupervisedTrainer, run: Run) -> None:
    with warnings.catch_warnings():
        if run.precision == "float16":  # MONAI makes its scaler by a name PyTorch has renamed
            warnings.filterwarnings("ignore", ".*GradScaler", FutureWarning)
        trainer.run()


def _at_epoch_end(trainer: SupervisedTrainer, run: Run, end: EpochEnd) -> None:
    def finish_epoch() -> None:
        end()
        if run.ran_out_of_patience:
            trainer.terminate()

    trainer.add_event_handler(Events.EPOCH_COMPLETED, finish_epoch)


def _stoppable(progress: Progress, stop: StopRequest) -> Progress:
    def listen(task: str, done: int, total: int, note: str = "") -> None:
        stop.check()
        progress(task, done, total, note)

    return listen


@contextmanager
def _told_plainly(run: Run, stop: StopRequest) -> Iterator[None]:
    """Turn an interrupt and a lack of memory into what the user can do about it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise _stopped(run) from error
    except (RuntimeError, MemoryError) as error:
        if stop.asked:  # the same signal has ended the loading processes
            raise _stopped(run) from error
        advice = _memory_advice(error)
        if not advice:
            raise
        raise ResourceError(advice) from error


def _stopped(run: Run) -> StoppedError:
    if run.whole and run.iteration and not run.finished:
        save_checkpoint(run, run.last)
        run.history.write(run.folder)
    where = f"stopped in iteration {run.iteration} of {run.total_iterations}"
    if not run.last.exists():
        return StoppedError(f"{where}, before the first checkpoint; nothing to resume from")
    return StoppedError(f"{where}; {run.last} is the last checkpoint, go on with --resume")


def _memory_advice(error: BaseException) -> str:
    """What to do if ``error`` means a lack of memory; else nothing."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU is out of memory; try a smaller batch_size or precision bfloat16"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return "out of memory; try a smaller batch_size or fewer workers"
    if "DataLoader worker" in text and ("killed" in text or "Bus error" in text):
        return "a loading process was killed, probably for lack of memory; try fewer workers"
    return ""


def _provenance(
    loader: "DataLoader[Any]",
    validation: Validation | None,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
) -> dict[str, Any]:
    stored = getattr(loader.dataset, "stored", [])
    return {
        "seed": settings.seed,
        "train_cases": [case.case_id for case in stored],
        "val_cases": [case.case_id for case in validation.chosen] if validation else [],
        "optimizer": type(optimizer).__name__,
        "settings": settings.to_plain(),
        "versions": {
            "medseg": medseg.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "monai": str(monai.__version__),
            "numpy": np.__version__,
        },
    }
