"""How long work says how far it is, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called after each step of a task; the command line draws a bar from it."""

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """Say that ``done`` of ``total`` steps of ``task`` are finished.

        Args:
            task: What is being done, as a person would read it: ``"Reading cases"``.
            done: Steps finished so far.
            total: Steps in all.
            note: A few words to show beside the bar, such as ``"loss 0.31"``.
        """


def silent(task: str, done: int, total: int, note: str = "") -> None:
    """Listen to nothing."""
