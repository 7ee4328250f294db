"""Reading, network and writing at the same time, one case apart."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from medseg.jobs import Outcome
from medseg.jobs.outcome import attempt

Case = TypeVar("Case")
Read = TypeVar("Read")
Ran = TypeVar("Ran")
Written = TypeVar("Written")


def pipelined(
    read: Callable[[Case], Read],
    run: Callable[[Case, Read], Ran],
    write: Callable[[Case, Ran], Written],
    cases: Sequence[Case],
) -> Iterator[Outcome[Case, Written]]:
    """Read the next case and write the last one while the network runs.

    ``read`` and ``write`` have a thread each and take one case at a time; ``run`` is called in the
    caller's. At most one case is read ahead and one waits to be written, so that no more than three
    are in memory. An error of a case is its outcome, whichever of the three it comes from
    (:func:`medseg.jobs.outcome.attempt` says which errors are the case's own).

    Args:
        read: Gives what ``run`` needs of a case.
        run: Takes the case and what was read.
        write: Takes the case and what ``run`` gave; its answer is the outcome's result.
        cases: In the order they are to be run.

    Yields:
        Outcomes in the order of the cases, each when it has been written and the next case has run.
        A caller that stops listening waits for the case that is being written, and no more.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = [reader.submit(attempt, read, case) for case in cases[:1]]
        coming = 1
        last: Future[Outcome[Case, Written]] | None = None
        try:
            while ahead:
                found = ahead.pop().result()
                ahead += [reader.submit(attempt, read, case) for case in cases[coming : coming + 1]]
                coming += 1
                ran = _then(found, run)
                del found  # what was read can go before the next case has run
                if last is not None:
                    yield last.result()
                last = writer.submit(_then, ran, write)
                del ran
            if last is not None:
                yield last.result()
        finally:
            for waiting in ahead:
                waiting.cancel()


def _then(before: Outcome[Case, Read], function: Callable[[Case, Read], Ran]) -> Outcome[Case, Ran]:
    if before.error is not None:
        return Outcome(before.item, error=before.error)
    return attempt(lambda case: function(case, before.unwrap()), before.item)
