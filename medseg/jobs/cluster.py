"""Hand items to a Dask cluster that the user runs; a worker that dies loses nothing."""

import asyncio
import contextlib
import logging
import queue
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

from medseg import __version__
from medseg.errors import CasesFailedError, ResourceError, UsageError
from medseg.jobs.outcome import Item, Outcome, Result, attempt

TIMEOUT_S = 10.0  # until a scheduler must have answered
LOOK_UP_S = 1.0  # between two looks at whether the scheduler is still there
AHEAD = 2  # items in flight for each thread of the cluster
LEAST = 4  # items in flight, however few threads there are yet
LOGGERS = ("distributed", "distributed.client")  # what matters there, our errors say


def run_on_cluster(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    address: str,
    *,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Outcome[Item, Result]]:
    """Yield an :class:`Outcome` per item, as they finish on the cluster's workers.

    The workers read the items' files under the same paths as this process. Dask gives the items
    of a worker that died to others; an item for which it has given up is tried once more when
    no other is left, and if its workers die again, this is its outcome. Workers may come and go;
    while there are none, this waits.

    Args:
        function: Picklable by name, as are items and results: workers import the same medseg.
        items: What to run it on; few of them are in flight at a time.
        address: Of the scheduler: ``tcp://host:8786`` or ``host:8786``.
        timeout_s: Seconds until the scheduler must have answered.

    Raises:
        UsageError: If Dask is not installed, nobody answers, or versions differ.
        ResourceError: If the scheduler is lost on the way.
    """
    with _quiet(), _connect(address, timeout_s) as client:
        flight = _Flight(client, address, partial(_on_worker, function))
        waiting, again, tried = deque(range(len(items))), deque[int](), set[int]()
        while waiting or again or flight.size:
            while waiting and flight.has_room():
                index = waiting.popleft()
                flight.submit(index, items[index])
            if again and not waiting and not flight.size:
                flight.submit(again[0], items[again.popleft()])
            index, answer = flight.land()
            if answer is not None:
                result, error = answer
                yield Outcome(items[index], result, error)
            elif index not in tried:
                tried.add(index)
                again.append(index)
            else:
                died = f"{items[index]}: the workers that ran it died each time (out of memory?)"
                yield Outcome(items[index], error=CasesFailedError(died))


class _Flight:
    """The items that the cluster has been given and has not answered yet."""

    def __init__(self, client: Any, address: str, function: Callable[[Any], Any]) -> None:
        self._client = client
        self._address = address
        self._function = function
        self._futures: dict[Any, int] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def size(self) -> int:
        return len(self._futures)

    def has_room(self) -> bool:
        if self.size < LEAST:
            return True
        try:
            threads = sum(self._client.nthreads().values())
        except (OSError, asyncio.TimeoutError):
            raise self._lost() from None
        return bool(self.size < AHEAD * threads)

    def submit(self, index: int, item: Any) -> None:
        future = self._client.submit(self._function, item, pure=False)
        self._futures[future] = index
        future.add_done_callback(self._landed.put)

    def land(self) -> tuple[int, Any]:
        """Wait for an item; its index and answer, ``None`` if its workers died."""
        while True:
            with contextlib.suppress(queue.Empty):
                future = self._landed.get(timeout=LOOK_UP_S)
                return self._futures.pop(future), self._answer(future)
            if self._client.status != "running":
                raise self._lost()

    def _answer(self, future: Any) -> tuple[Any, Exception | None] | None:
        from distributed.scheduler import KilledWorker

        try:
            version, result, error = future.result()
        except KilledWorker:
            return None
        except CancelledError:
            raise self._lost() from None
        except Exception as error:
            missing = _missing(error)
            if missing is None:  # a fault of ours
                raise
            same = "scheduler and workers need the same medseg and packages as here"
            raise UsageError(f"{self._address}: {same}; one says: {missing}") from error
        if version != __version__:
            raise UsageError(
                f"{self._address}: a worker has medseg {version}, here is {__version__}; "
                f"install the same on both"
            )
        return result, error

    def _lost(self) -> ResourceError:
        return ResourceError(
            f"{self._address}: the Dask scheduler is gone; start it and run the same command "
            f"again, what is done is kept"
        )


def _on_worker(
    function: Callable[[Item], Result], item: Item
) -> tuple[str, Result | None, Exception | None]:
    outcome = attempt(function, item)
    return __version__, outcome.result, outcome.error


def _missing(error: BaseException | None) -> BaseException | None:
    """What a process could not import to understand its task, if that was the error."""
    while error is not None:
        if isinstance(error, ImportError) or "Can't get attribute" in str(error):
            return error
        error = error.__cause__
    return None


@contextlib.contextmanager
def _connect(address: str, timeout_s: float) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--cluster needs Dask: pip install 'medseg[cluster]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ; see below
            client = Client(address, timeout=timeout_s, set_as_default=False)
    except (OSError, ValueError, ImportError, asyncio.TimeoutError) as error:
        said = f"no Dask scheduler answers there within {timeout_s:g} s ({error})"
        raise UsageError(f"--cluster {address}: {said}; start it, or mend the address") from error
    try:
        _check_versions(client, address)
        yield client
    finally:
        client.close(timeout=LOOK_UP_S)  # the scheduler forgets what nobody waits for


def _check_versions(client: Any, address: str) -> None:
    """Refuse workers, as far as there are any yet, that do not understand this process."""
    versions = client.get_versions()
    here = _essential(versions["client"])
    others = {"the scheduler": versions["scheduler"], **versions["workers"]}
    for name, there in ((name, _essential(info)) for name, info in others.items()):
        if there != here:
            raise UsageError(
                f"--cluster {address}: {name} has {_named(there)}, here is {_named(here)}; "
                f"install the same on both"
            )


def _essential(info: Any) -> tuple[str, str]:
    packages = dict(info["packages"])
    return ".".join(str(packages["python"]).split(".")[:2]), str(packages["distributed"])


def _named(versions: tuple[str, str]) -> str:
    return "Python {} with distributed {}".format(*versions)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.suppress(ImportError):
        import distributed  # noqa: F401 - sets its levels when it is imported
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
