"""Run one function over many items in processes; one that fails never stops the others."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic

from medseg.errors import CasesFailedError, ResourceError
from medseg.jobs.outcome import Item, Outcome, Result, attempt
from medseg.jobs.worker import Worker, WorkerDiedError

_Answer = tuple[Result | None, Exception | None] | WorkerDiedError
BAD_STARTS = 3  # in a row, until we say that processes cannot be started here


def run_each(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int = 1
) -> Iterator[Outcome[Item, Result]]:
    """Yield an :class:`Outcome` per item, as they finish.

    Args:
        function: Picklable, as are items and results, unless ``workers`` is 1.
        items: What to run it on.
        workers: Processes; with one, everything runs in this process and in order.

    A ``MedsegError``, ``OSError``, ``ValueError``, ``RuntimeError`` or ``MemoryError`` of one item
    becomes its outcome. Every process holds one item at a time, so memory is bounded and a process
    that dies takes only that item with it; the item is tried once more, alone, after all others
    (there is most memory then), and if that ends a process again, this is its outcome. The
    processes end when the caller stops listening, and when this process is gone, killed or not.

    Raises:
        ResourceError: If processes cannot be started.
    """
    if workers <= 1 or len(items) <= 1:
        yield from (attempt(function, item) for item in items)
        return
    crew = _Crew(function, min(workers, len(items)))
    waiting, again = deque(range(len(items))), deque[int]()
    tried: set[int] = set()
    try:
        while waiting or again or crew.busy:
            while waiting and crew.has_room:
                index = waiting.popleft()
                crew.give(index, items[index])
            if again and not waiting and not crew.busy:
                crew.give(again[0], items[again.popleft()])
            for index, answer in crew.answers():
                if not isinstance(answer, WorkerDiedError):
                    result, error = answer
                    yield Outcome(items[index], result, error)
                elif not answer.ready:
                    waiting.appendleft(index)
                elif index not in tried:
                    tried.add(index)
                    again.append(index)
                else:
                    yield Outcome(items[index], error=_killer(items[index], answer))
    finally:
        crew.dismiss()


class _Crew(Generic[Item, Result]):
    """Workers, started when they are needed and replaced when they die."""

    def __init__(self, function: Callable[[Item], Result], size: int) -> None:
        self._function = function
        self._size = size
        self._workers: list[Worker[Item, Result]] = []
        self._bad_starts = 0

    @property
    def busy(self) -> bool:
        return any(worker.index is not None for worker in self._workers)

    @property
    def has_room(self) -> bool:
        return sum(worker.index is not None for worker in self._workers) < self._size

    def give(self, index: int, item: Item) -> None:
        """Hand the item to a worker that is idle, else to a new one."""
        for worker in [worker for worker in self._workers if worker.index is None]:
            if worker.alive:
                worker.give(index, item)
                return
            self._drop(worker)
        self._workers.append(Worker(self._function))
        self._workers[-1].give(index, item)

    def answers(self) -> list[tuple[int, _Answer[Result]]]:
        """Wait until a worker answers or dies; item by item, what came of it."""
        found: list[tuple[int, _Answer[Result]]] = []
        at_work = [worker for worker in self._workers if worker.index is not None]
        for worker in Worker.first_to_speak(at_work):
            index = worker.index
            try:
                answer = worker.take()
            except WorkerDiedError as death:
                self._count(death)
                self._drop(worker)
                found.append((index or 0, death))
            else:
                self._bad_starts = 0
                if answer is not None:
                    found.append((index or 0, answer))
        return found

    def dismiss(self) -> None:
        """End every worker, whatever it is at."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()

    def _drop(self, worker: Worker[Item, Result]) -> None:
        self._workers.remove(worker)
        worker.stop()
        worker.join()

    def _count(self, death: WorkerDiedError) -> None:
        self._bad_starts += not death.ready
        if self._bad_starts >= BAD_STARTS:
            raise ResourceError(
                f"{BAD_STARTS} worker processes {death} before they could begin; try --workers 1"
            )


def _killer(item: object, death: WorkerDiedError) -> CasesFailedError:
    return CasesFailedError(f"{item}: its worker process {death}, twice; try fewer --workers")
