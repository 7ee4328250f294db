"""A training that kills itself at a named moment.

``python -m tests.training.killed FOLDER MOMENT``, run by test_resume.py in a process of its own.
"""

import os
import signal
import sys
from pathlib import Path

import torch

import medseg.model
from tests.training.small import UNET, fit

ARGUMENTS = {"network": UNET, "max_epochs": 3, "ema_decay": 0.9, "checkpoint_every_minutes": 1e-9}


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def in_an_iteration():
    """In the second epoch, just after a checkpoint within it."""

    def progress(task, done, total, note=""):
        if (task, done) == ("Training", 7):
            kill()

    return progress


def in_a_checkpoint():
    """With the ninth checkpoint half on disk."""
    save, calls = torch.save, []

    def half(state, file):
        calls.append(1)
        save(state, file)
        if len(calls) == 9:
            file.truncate(file.tell() // 2)
            kill()

    torch.save = half


def in_the_model():
    """With the weights of the second epoch's model written and its card not."""
    write, calls = medseg.model.write_json, []

    def late(path, content):
        calls.append(1)
        if len(calls) == 2:
            kill()
        write(path, content)

    medseg.model.write_json = late


def in_validation():
    """In the validation of the second epoch."""

    def progress(task, done, total, note=""):
        calls.extend([1] * (task == "Validating"))
        if len(calls) == 5:
            kill()

    calls = []
    return progress


MOMENTS = {
    name.__name__: name for name in (in_an_iteration, in_a_checkpoint, in_the_model, in_validation)
}


if __name__ == "__main__":
    listen = MOMENTS[sys.argv[2]]() or (lambda *_: None)
    fit(Path(sys.argv[1]), progress=listen, **ARGUMENTS)
