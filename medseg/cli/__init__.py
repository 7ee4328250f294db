"""The ``medseg`` command: its verbs, exit codes and ``--json``.

Heavy packages are imported inside the verbs that need them, so that ``--help`` and ``info``
answer at once. Everything for people goes to stderr; stdout holds results, or with ``--json``
exactly one JSON document.
"""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import typer

from medseg.cli import (  # noqa: F401 - their verbs join the application
    cases,
    compare,
    evaluation,
    experiments,
    explanation,
    export,
    planning,
    prediction,
)
from medseg.cli.app import app
from medseg.errors import InputError, MedsegError, ResourceError, StoppedError
from medseg.terminal import say

# typer exports the children of its ClickException, not ClickException itself
ClickError: Any = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end with the exit code that fits; SIGTERM is heard as Ctrl-C is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; a user never sees a traceback."""
    try:
        result = app(args=arguments, standalone_mode=False, prog_name="medseg")
    except ClickError as error:
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        result = StoppedError.exit_code
    except MedsegError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory", ResourceError.exit_code)
    except OSError as error:
        code = ResourceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else InputError
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}", code.exit_code)
    except Exception as error:
        if os.environ.get("MEDSEG_DEBUG"):
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"internal error: {said} (MEDSEG_DEBUG=1 shows where)", 1)
    if result == StoppedError.exit_code:  # typer turns Ctrl-C into this code itself
        return _fail("interrupted", result)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    say(f"medseg: {' '.join(message.split())}")
    return code
