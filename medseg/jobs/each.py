"""Run one function over many items in processes; one that fails never stops the others."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from medseg.errors import CasesFailedError, MedsegError, ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: its result, or the error that stopped it."""

    item: Item
    result: Result | None = None
    error: Exception | None = None

    def unwrap(self) -> Result:
        """The result.

        Raises:
            Exception: The error that stopped the item, if one did.
        """
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


def run_each(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int = 1
) -> Iterator[Outcome[Item, Result]]:
    """Yield an :class:`Outcome` per item, as they finish.

    Args:
        function: Picklable, as are items and results, unless ``workers`` is 1.
        items: What to run it on.
        workers: Processes; with one, everything runs in this process and in order.

    A ``MedsegError``, ``OSError``, ``ValueError``, ``RuntimeError`` or ``MemoryError`` of one item
    becomes its outcome; a worker process that dies is reported on the items it took with it.
    """
    if workers <= 1 or len(items) <= 1:
        yield from (_outcome(function, item) for item in items)
        return
    spawn = multiprocessing.get_context("spawn")  # fork is unsafe once threads are running
    with ProcessPoolExecutor(min(workers, len(items)), mp_context=spawn) as pool:
        futures: dict[Future[Outcome[Item, Result]], Item] = {
            pool.submit(_outcome, function, item): item for item in items
        }
        try:
            for future in as_completed(futures):
                yield _gather(future, futures[future])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, function(item))
    except MemoryError:
        return Outcome(item, error=ResourceError(f"{item}: out of memory"))
    except (MedsegError, OSError, ValueError, RuntimeError) as error:
        return Outcome(item, error=error)


def _gather(future: "Future[Outcome[Item, Result]]", item: Item) -> Outcome[Item, Result]:
    try:
        return future.result()
    except BrokenProcessPool:
        message = "a worker process died (out of memory?); try fewer --workers"
        return Outcome(item, error=CasesFailedError(message))
