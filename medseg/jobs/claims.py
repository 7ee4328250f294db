"""Items that any number of processes share: each claims one, does it, and takes the next.

They share nothing but a folder, may join and leave at any time, and each goes on until all is done:
the claim of a process that died is taken over by whoever comes next.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic
from uuid import uuid4

from medseg.errors import CasesFailedError, DiskFullError, MedsegError, ModelError, UsageError
from medseg.jobs.ahead import run_ahead
from medseg.jobs.each import run_each
from medseg.jobs.journal import BEGUN, Entry, Journal
from medseg.jobs.lease import HeldError, is_held, lease, names_in, remove_stale
from medseg.jobs.outcome import Item, Outcome, attempt, in_one_line
from medseg.jobs.settings import JobSettings

CLAIMS, WORKERS = "claims", "workers"  # folders in the journal's
POLL_S = 0.25  # between two looks at what others are at
FATAL = (DiskFullError, ModelError)  # no item's own fault: every further one would fail as well


@dataclass(frozen=True)
class Order(Generic[Item]):
    """What is to be done with each item, and how one knows that it is done.

    All functions are picklable where there is more than one worker or a cluster.

    Attributes:
        function: Returns plain data (what JSON can hold).
        key: A name of the item, no two the same.
        fingerprint: Hash of everything that the result depends on.
        holds: Whether what a result tells of is still as it tells.
        folder: Of the journal.
        anew: Do again what is done already, unless it was done since this process began.
    """

    function: Callable[[Item], Any]
    key: Callable[[Item], str]
    fingerprint: Callable[[Item], str]
    holds: Callable[[Item, Any], bool]
    folder: Path
    anew: bool = False


@dataclass(frozen=True)
class _Task(Generic[Item]):
    """An item, and which entry it had when this process began."""

    item: Item
    before: tuple[int, int]

    def __str__(self) -> str:
        return str(self.item)


def run_claimed(
    order: Order[Item],
    items: Sequence[Item],
    *,
    settings: JobSettings | None = None,
    workers: int = 1,
    threads: int = 1,
) -> Iterator[Outcome[Item, Any]]:
    """Yield an :class:`Outcome` per item of this part, as they finish, here or in other processes.

    An item is done once: whoever claims it first does it, and all others wait for its entry in the
    journal. An entry from before this process began holds if its fingerprint is the present one
    and ``order.holds``; a failed item of that time is tried again. Items without an entry come
    first, so that who joins late begins to help at once.

    Args:
        order: What to do.
        items: All of them, the same in every part.
        settings: Which share, and where it is computed.
        workers: Processes on this machine; on a cluster they are its own affair.
        threads: With one worker, items that this process works at side by side, see
            :func:`medseg.jobs.ahead.run_ahead`.

    Raises:
        DiskFullError: If the disk is full.
        ModelError: If an item raised it.
        ResourceError: If processes cannot be started.
        UsageError: If the cluster cannot be used.
    """
    settings, claim = settings or JobSettings(), _Claim(order)
    held: list[_Task[Item]] = []
    waiting = [
        _Task(item, claim.journal.stamp(order.key(item))) for item in settings.share_of(items)
    ]
    waiting.sort(key=lambda task: task.before != (0, 0))
    while waiting or held:
        for outcome in _outcomes(claim, waiting, settings, workers, threads):
            task, error = outcome.item, outcome.error
            if isinstance(error, FATAL):
                raise error
            if error is not None:
                claim.note(task, error)
                yield Outcome(task.item, error=error)
            elif outcome.result is None:
                held.append(task)
            else:
                yield _unpack(task.item, outcome.result)
        known = [(task, claim.known(task)) for task in held]
        yield from (_unpack(task.item, answer) for task, answer in known if answer is not None)
        held = [task for task, answer in known if answer is None]
        at_work = [claim.is_held(task) for task in held]
        waiting = [task for task, busy in zip(held, at_work, strict=True) if not busy]
        held = [task for task, busy in zip(held, at_work, strict=True) if busy]
        if held and not waiting:
            time.sleep(POLL_S)


@contextmanager
def join_job(folder: Path, job: str) -> Iterator[None]:
    """Work in a folder beside processes of the same job, but of no other.

    Args:
        folder: Of the journal.
        job: Hash of what all items have in common.

    Raises:
        UsageError: If a process that is alive works there at another job.
    """
    mine = f"{job[:16]}-{uuid4().hex[:12]}"
    with lease(folder / WORKERS, mine):
        for name in forget_dead(folder):
            if not name.startswith(job[:16]):
                raise UsageError(
                    f"{folder.parent}: another process is at work there with another model or "
                    f"other settings; wait for it, or use another output folder"
                )
        yield


def forget_dead(folder: Path) -> list[str]:
    """Remove the leases of workers that died, on items or on the folder; who is left in it."""
    for name in names_in(folder / CLAIMS):
        if not is_held(folder / CLAIMS, name):
            remove_stale(folder / CLAIMS, name)
    alive = []
    for name in names_in(folder / WORKERS):
        if is_held(folder / WORKERS, name):
            alive.append(name)
        else:
            remove_stale(folder / WORKERS, name)
    return alive


class _Claim(Generic[Item]):
    """Do one item unless it is done or somebody is at it; picklable.

    The answer is ``None`` if somebody is, else ``{"result": …}`` or ``{"error": …}``.
    """

    def __init__(self, order: Order[Item]) -> None:
        self.order = order
        self.journal = Journal(order.folder)

    def __call__(self, task: _Task[Item]) -> dict[str, Any] | None:
        name = self.order.key(task.item)
        known = self.known(task)
        if known is not None:
            return known
        try:
            with lease(self.order.folder / CLAIMS, self.journal.name(name)):
                known = self.known(task)  # somebody may have finished it just now
                return self._do(task.item, name) if known is None else known
        except HeldError:
            return None

    def known(self, task: _Task[Item]) -> dict[str, Any] | None:
        """What the journal says of an item, if it is good enough."""
        name = self.order.key(task.item)
        recent = self.journal.stamp(name) != task.before
        if not recent and (self.order.anew or task.before == (0, 0)):
            return None
        entry = self.journal.read(name)
        if entry is None or entry.begun or (entry.error is not None and not recent):
            return None
        if entry.fingerprint != _mark(self.order, task.item):
            return None
        if entry.error is not None:
            return {"error": entry.error}
        if not self.order.holds(task.item, entry.result):
            return None
        return {"result": entry.result}

    def is_held(self, task: _Task[Item]) -> bool:
        """Whether somebody is at an item."""
        return is_held(self.order.folder / CLAIMS, self.journal.name(self.order.key(task.item)))

    def note(self, task: _Task[Item], error: Exception) -> None:
        """Keep the error of an item whose process died before it could."""
        name = self.order.key(task.item)
        entry = self.journal.read(name)
        if entry is None or entry.begun or self.journal.stamp(name) == task.before:
            mark = _mark(self.order, task.item)
            self.journal.write(name, Entry(mark, error=in_one_line(error)))

    def _do(self, item: Item, name: str) -> dict[str, Any]:
        if self.journal.stamp(name) == (0, 0):
            self.journal.write(name, BEGUN)
        mark = _mark(self.order, item)
        outcome = attempt(self.order.function, item)
        if isinstance(outcome.error, FATAL):
            raise outcome.error
        if outcome.error is not None:
            said = in_one_line(outcome.error)
            self.journal.write(name, Entry(mark, error=said))
            raise outcome.error
        result = json.loads(json.dumps(outcome.result, allow_nan=False))
        self.journal.write(name, Entry(mark, result))
        return {"result": result}


def _outcomes(
    work: _Claim[Item],
    tasks: Sequence[_Task[Item]],
    settings: JobSettings,
    workers: int,
    threads: int,
) -> Iterator[Outcome[_Task[Item], dict[str, Any] | None]]:
    if settings.cluster is None or not tasks:
        if min(threads, len(tasks)) > 1 and workers == 1:
            return run_ahead(work, tasks, threads=min(threads, len(tasks)))
        return run_each(work, tasks, workers=workers)
    from medseg.jobs.cluster import run_on_cluster

    return run_on_cluster(work, tasks, settings.cluster)


def _unpack(item: Item, answer: dict[str, Any]) -> Outcome[Item, Any]:
    if "error" in answer:
        return Outcome(item, error=CasesFailedError(answer["error"]))
    return Outcome(item, answer["result"])


def _mark(order: Order[Item], item: Item) -> str:
    """The fingerprint, or nothing where what goes in cannot be read."""
    try:
        return order.fingerprint(item)
    except (MedsegError, OSError, ValueError):
        return ""
