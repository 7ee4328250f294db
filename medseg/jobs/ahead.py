"""Items worked at side by side in threads, but for one step that is done by one at a time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from medseg.jobs.outcome import Item, Outcome, Result, attempt

Given = TypeVar("Given")
POLL_S = 0.05


class _Turn(Generic[Given]):
    """A call that waits for the listener's thread."""

    def __init__(self, call: Callable[[], Given]) -> None:
        self.call = call
        self.answer: Future[Given] = Future()

    def run(self) -> None:
        try:
            self.answer.set_result(self.call())
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits for the answer
            self.answer.set_exception(error)
        except BaseException:  # Ctrl-C: nobody will have the answer
            self.cancel()
            raise

    def cancel(self) -> None:
        if not self.answer.done():  # Ctrl-C may come just after the answer
            self.answer.set_exception(CancelledError())


class _Thread(threading.local):
    events: "SimpleQueue[Any] | None" = None


_HERE = _Thread()


def in_turn(call: Callable[[], Given]) -> Given:
    """Call a function in the thread that listens to :func:`run_ahead`, one call after the other.

    Outside of ``run_ahead`` it is simply called.

    Raises:
        CancelledError: If nobody listens any more.
    """
    if _HERE.events is None:
        return call()
    turn = _Turn(call)
    _HERE.events.put(turn)
    return turn.answer.result()


def run_ahead(
    function: Callable[[Item], Result], items: Sequence[Item], *, threads: int
) -> Iterator[Outcome[Item, Result]]:
    """Yield an :class:`Outcome` per item, as they finish; so many are worked at side by side.

    What ``function`` hands to :func:`in_turn` runs in the caller's thread, where Ctrl-C is heard;
    the rest of it beside that. Errors are those of :func:`medseg.jobs.outcome.attempt`; others are
    raised here. A caller that stops listening waits for what is at work outside of its turn, and
    whoever waits for a turn then gets ``CancelledError``.

    Args:
        function: Safe to run in several threads.
        items: They are begun in this order.
        threads: How many are worked at.
    """
    events: SimpleQueue[_Turn[Any] | Future[Outcome[Item, Result]]] = SimpleQueue()
    pool = ThreadPoolExecutor(threads, "ahead", _begin, (events,))
    running = [pool.submit(attempt, function, item) for item in items]
    for one in running:
        one.add_done_callback(events.put)
    left = len(running)
    try:
        while left:
            event = events.get()
            if isinstance(event, _Turn):
                event.run()
                del event  # and what the call holds
            else:
                left -= 1
                yield event.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(one.done() for one in running):
            with suppress(Empty):
                event = events.get(timeout=POLL_S)
                if isinstance(event, _Turn):
                    event.cancel()
        pool.shutdown()


def _begin(events: "SimpleQueue[Any]") -> None:
    _HERE.events = events
