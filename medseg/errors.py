"""What a user can do wrong, each with the exit code the command line ends with.

Library code raises these; only the command line turns them into one line and an exit code.
"""

from pathlib import Path


class MedsegError(Exception):
    """Something the user can mend; its message is one line that says how."""

    exit_code = 1


class UsageError(MedsegError):
    """An argument, config or override that does not fit (exit code 2)."""

    exit_code = 2


class InputError(MedsegError):
    """A file that cannot be used as it is (exit code 3).

    Args:
        path: The file or folder that was refused.
        wanted: What was expected there.
        got: What was found instead.
        hint: What the user can do next, if it is not obvious.
    """

    exit_code = 3

    def __init__(self, path: str | Path, wanted: str, got: str, hint: str = "") -> None:
        super().__init__(f"{path}: expected {wanted}, got {got}" + (f"; {hint}" if hint else ""))
        self.path, self.wanted, self.got, self.hint = path, wanted, got, hint

    def __reduce__(self) -> tuple[type["InputError"], tuple[str | Path, str, str, str]]:
        """Travel between processes: the message is rebuilt from the four parts."""
        return type(self), (self.path, self.wanted, self.got, self.hint)


class CasesFailedError(MedsegError):
    """Some cases failed, the others are written (exit code 4)."""

    exit_code = 4


class ResourceError(MedsegError):
    """Memory or disk ran out (exit code 5)."""

    exit_code = 5


class DiskFullError(ResourceError):
    """The disk is full: whatever else is written will fail as well (exit code 5)."""


class ModelError(MedsegError):
    """A model folder that is missing, damaged or not trusted (exit code 6)."""

    exit_code = 6


class StoppedError(MedsegError):
    """The user stopped the run; it can be resumed (exit code 130)."""

    exit_code = 130
