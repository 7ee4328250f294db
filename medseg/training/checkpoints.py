"""Checkpoints: everything that a training needs to go on as if it had never stopped."""

import os
import pickle
import random
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.errors import ModelError, UsageError
from medseg.files import atomic_path
from medseg.training.precision import pick_precision
from medseg.training.run import Run

FORMAT = 1
PARTS = ("epoch_length", "precision", "network", "optimizer", "average", "scaler")
KEYS = {"format", "iteration", "seconds", "history", "random", *PARTS}
OWN = ("checkpoints", "model", "figures", "tensorboard", "history.csv", "iterations.csv")
DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    OSError,
    KeyError,
    ValueError,
    AttributeError,
    TypeError,
)


def save_checkpoint(run: Run, path: Path) -> None:
    """Write the whole state of a run, whole or not at all.

    Raises:
        ResourceError: If the disk is full.
        UsageError: If a weight is NaN or infinite; what was saved before stays.
    """
    refuse_bad_weights(run)
    state = {
        "format": FORMAT,
        "epoch_length": run.epoch_length,
        "precision": run.precision,
        "iteration": run.iteration,
        "seconds": run.seconds,
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": None if run.average is None else run.average.state_dict(),
        "scaler": None if run.scaler is None else run.scaler.state_dict(),
        "history": run.history.state(),
        "random": random_state(),
    }
    with atomic_path(path) as temporary:
        _write(state, temporary)
    run.saved_at = time.monotonic()


def load_checkpoint(run: Run, path: Path) -> None:
    """Put a run, its weights and all random generators where a checkpoint left them.

    Raises:
        ModelError: If the file is damaged, or belongs to another network or optimizer.
        UsageError: If an epoch has another number of iterations now, or the device lacks the
            precision that ``"auto"`` was before.
    """
    state = read_checkpoint(path)
    if state["epoch_length"] != run.epoch_length:
        raise UsageError(
            f"{path}: expected {state['epoch_length']} iterations per epoch as before, got "
            f"{run.epoch_length}; resume with the same cases and batch size"
        )
    try:
        run.network.load_state_dict(state["network"])
        _load_optimizer(run.optimizer, state["optimizer"])
        _load_average(run, state["average"])
        run.history.load(state["history"])
        set_random_state(state["random"])
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{path}: expected a checkpoint of this network and optimizer; {reason}"
        ) from error
    run.iteration, run.spent = state["iteration"], state["seconds"]
    run.scaler_state = state["scaler"] or {}
    if run.settings.precision == "auto":  # as it was found to be, if the device has it
        run.precision = pick_precision(state["precision"], run.device)
    del run.history.epochs[run.epochs_done :]  # a short last epoch is gone on with


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; it holds tensors and plain data, and no code is run.

    Raises:
        ModelError: If it is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a checkpoint, got no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # PyTorch does not look at the checksums
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        raise _damaged(path, type(error).__name__) from error
    if damaged:
        raise _damaged(path, f"wrong checksum in {damaged}")
    if not isinstance(state, dict) or not state.keys() >= KEYS or state["format"] != FORMAT:
        raise _damaged(path, "it lacks parts of a checkpoint")
    return state


def copy_checkpoint(source: Path, target: Path) -> None:
    """Give a checkpoint a second name; no bytes are copied where the file system has links."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def check_folder(folder: str | Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to train over a run that is there, unless it is to be resumed or overwritten.

    Raises:
        UsageError: If the folder holds a run and neither was asked for.
    """
    found = [name for name in OWN if (Path(folder) / name).exists()]
    if found and not (resume or overwrite):
        raise UsageError(
            f"{folder}: holds a run already ({found[0]}); use --resume to go on with it, "
            "--overwrite to delete it, or another out_dir"
        )


def clear_folder(folder: Path) -> None:
    """Delete the run in a folder; files that training did not write stay, such as the config."""
    for name in OWN:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Delete half-written files that a killed process left under their temporary names."""
    for inner in (folder, *(folder / name for name in OWN)):
        for path in inner.glob(".tmp-*"):
            path.unlink(missing_ok=True)


def random_state() -> dict[str, Any]:
    """State of every random generator, as tensors and plain data."""
    numpy: dict[str, Any] = np.random.get_state(legacy=False)
    keys = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": numpy | {"state": numpy["state"] | {"key": keys}},
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put every random generator where ``random_state`` found it."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    numpy = state["numpy"]
    keys = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": keys}})
    random.setstate(state["python"])


def refuse_bad_weights(run: Run) -> None:
    """Stop before NaN or infinite weights are saved over good ones.

    Raises:
        UsageError: Naming the first such tensor.
    """
    for name, tensor in run.network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.sum(dtype=torch.float64))):
            raise UsageError(
                f"training failed after iteration {run.iteration}: {name} is not finite; try a "
                "lower learning rate, clip_norm or precision float32"
            )


def _write(state: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # PyTorch's word for a full disk is obscure
            raise error.__context__ from None
        raise


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over what the optimizer remembers; rates, decay and the like stay as they are set."""
    options = [
        {k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, kept in zip(optimizer.param_groups, options, strict=True):
        group.update(kept)


def _load_average(run: Run, state: dict[str, Any] | None) -> None:
    if run.average is None:
        return
    if state is None:  # averaging was switched on since
        run.average.module.load_state_dict(run.network.state_dict())
    else:
        run.average.load_state_dict(state)


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path}: expected a checkpoint, got a damaged file ({reason}); "
        "put back a copy, or start anew with --overwrite"
    )
