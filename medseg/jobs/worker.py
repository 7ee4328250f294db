"""A process that runs one function on one item at a time, and never outlives its parent."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic

from medseg.jobs.outcome import Item, Outcome, Result, attempt

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE_S = 3  # for a worker that was asked to end
LOOK_UP_S = 2  # between two looks at whether the parent is still the same


class WorkerDiedError(Exception):
    """A worker process ended by itself; the message says how.

    Attributes:
        ready: Whether it had begun to work; if not, its item is not to blame.
    """

    def __init__(self, how: str, ready: bool) -> None:
        super().__init__(how)
        self.ready = ready


class Worker(Generic[Item, Result]):
    """A spawned process with a pipe to it; it holds at most one item.

    Args:
        function: Picklable.

    Attributes:
        index: Which item it works on, by the caller's count; ``None`` while idle.
    """

    def __init__(self, function: Callable[[Item], Result]) -> None:
        spawn = multiprocessing.get_context("spawn")  # fork is unsafe once threads are running
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, function), daemon=True)
        with _one_thread(), _ctrl_c_waits():
            self._process.start()
        theirs.close()
        self._ready = False
        self.index: int | None = None

    @property
    def alive(self) -> bool:
        """Whether it can be given an item."""
        return self._process.is_alive()

    def give(self, index: int, item: Item) -> None:
        """Hand it an item; that it died meanwhile shows when its answer is taken."""
        self.index = index
        data = pickle.dumps(item)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._pipe.send_bytes(data)

    def take(self) -> tuple[Result | None, Exception | None] | None:
        """Result and error of its item, or ``None`` if it only said that it is ready.

        Raises:
            WorkerDiedError: If it is no more.
            Exception: If ``function`` raised what is not an item's own error.
        """
        try:
            data = self._pipe.recv_bytes()
        except (EOFError, ConnectionResetError):
            self._process.join(PATIENCE_S)
            raise WorkerDiedError(_how(self._process.exitcode), self._ready) from None
        kind, *rest = pickle.loads(data)
        if kind == "ready":
            self._ready = True
            return None
        self.index = None
        if kind == "fault":
            fault, trace = rest
            raise fault from RuntimeError(f"in a worker process:\n{trace}")
        result, error = rest
        return result, error

    def stop(self) -> None:
        """Ask it to end, so that it removes its temporary files."""
        self._pipe.close()
        self._process.terminate()

    def join(self) -> None:
        """Wait for its end, and kill it if it does not come."""
        self._process.join(PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    @classmethod
    def first_to_speak(cls, workers: "list[Worker[Item, Result]]") -> "list[Worker[Item, Result]]":
        """Wait until some of the workers have said something or died; return those."""
        heard = wait([worker._pipe for worker in workers])
        return [worker for worker in workers if worker._pipe in heard]


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.unraisablehook = _end_at_once
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent closed the pipe or is gone
        pipe.send_bytes(pickle.dumps(("ready",)))
        while True:
            data = pipe.recv_bytes()
            pipe.send_bytes(_answer(function, data))


def _answer(function: Callable[[Any], Any], data: bytes) -> bytes:
    try:
        outcome: Outcome[Any, Any] = attempt(function, pickle.loads(data))
        return pickle.dumps(("done", outcome.result, _portable(outcome.error)))
    except Exception as fault:  # noqa: BLE001 - raised again in the parent
        return pickle.dumps(("fault", _portable(fault), traceback.format_exc()))


def _portable(error: Exception | None) -> Exception | None:
    """The error itself if it survives the way to the parent, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does on this way
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent(parent_id: int) -> None:
    """End this process once its parent is gone, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    watched = [] if parent is None else [parent.sentinel]
    while not wait(watched, LOOK_UP_S) and os.getppid() == parent_id:
        pass
    os._exit(1)


def _end_at_once(ignored: "sys.UnraisableHookArgs") -> None:
    """Where Python would ignore an error, in a ``__del__``, it would ignore our end as well."""
    if isinstance(ignored.exc_value, SystemExit):
        os._exit(128 + signal.SIGTERM)
    sys.__unraisablehook__(ignored)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes started in the block do arithmetic in one thread, unless told otherwise."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Put Ctrl-C off until the block is left; processes started in it never get it."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it later would lift the mask
    heard: list[int] = []  # any other thread of this process may still be told
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        hint = ", out of memory?" if name == "SIGKILL" else ""
        return f"was ended by signal {-code} ({name}{hint})"
    return f"was ended by signal {-code}"
