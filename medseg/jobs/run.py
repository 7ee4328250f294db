"""Run one function over many items: here or on a cluster, whole or in parts, resumed if stopped."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

from medseg.errors import CasesFailedError, InputError, MedsegError
from medseg.jobs.each import run_each
from medseg.jobs.journal import Entry, Journal
from medseg.jobs.outcome import Item, Outcome, in_one_line
from medseg.jobs.settings import JobSettings

NAMED = 5  # missing items that an error names


def run_jobs(
    function: Callable[[Item], Any],
    items: Sequence[Item],
    *,
    key: Callable[[Item], str],
    fingerprint: Callable[[Item], str],
    journal: Journal,
    settings: JobSettings | None = None,
    workers: int = 1,
) -> Iterator[Outcome[Item, Any]]:
    """Yield an :class:`Outcome` per item of this part, as they finish; keep each in the journal.

    An item whose entry has its present fingerprint is not computed again, unless it failed.
    With ``settings.merge`` nothing is computed: entries, errors included, are what is yielded.

    Args:
        function: Returns plain data (what JSON can hold); the result is what JSON makes of it,
            so that a resumed run cannot be told from an undisturbed one.
        items: All of them, the same in every part. Picklable, as is ``function``, where there is
            more than one worker or a cluster.
        key: A name of the item, no two the same.
        fingerprint: Hash of everything that the result depends on. It is taken beside the
            computation, in the workers.
        journal: Held by :func:`medseg.jobs.open_journal` for these settings.
        settings: Which share, and where it is computed.
        workers: Processes on this machine; on a cluster they are its own affair.

    Raises:
        InputError: If parts are merged and one or more are missing.
        UsageError: If the cluster cannot be used.
        ResourceError: If the disk is full, or processes cannot be started.
    """
    settings = settings or JobSettings()
    if settings.merge:
        yield from _merge(items, key, fingerprint, journal)
        return
    tasks = [_task(item, journal.read(key(item))) for item in settings.share_of(items)]
    work = partial(_unless_known, function, fingerprint)
    for outcome in _outcomes(work, tasks, settings, workers):
        item, name = outcome.item.item, key(outcome.item.item)
        if outcome.error is not None:
            mark, said = _mark(fingerprint, item), in_one_line(outcome.error)
            journal.write(name, Entry(mark, error=said, part=settings.part))
            yield Outcome(item, error=outcome.error)
            continue
        mark, text = outcome.unwrap()
        if text is None:
            known = journal.read(name)
            result = known.result if known is not None else None
        else:
            result = json.loads(text)
            journal.write(name, Entry(mark, result, part=settings.part))
        yield Outcome(item, result)


@dataclass(frozen=True)
class _Task(Generic[Item]):
    """An item, and the fingerprint of the result that is there already."""

    item: Item
    known: str

    def __str__(self) -> str:
        return str(self.item)


def _task(item: Item, entry: Entry | None) -> _Task[Item]:
    return _Task(item, "" if entry is None or entry.error is not None else entry.fingerprint)


def _outcomes(
    work: Callable[[_Task[Item]], tuple[str, str | None]],
    tasks: Sequence[_Task[Item]],
    settings: JobSettings,
    workers: int,
) -> Iterator[Outcome[_Task[Item], tuple[str, str | None]]]:
    if settings.cluster is None:
        return run_each(work, tasks, workers=workers)
    from medseg.jobs.cluster import run_on_cluster

    return run_on_cluster(work, tasks, settings.cluster)


def _unless_known(
    function: Callable[[Item], Any], fingerprint: Callable[[Item], str], task: _Task[Item]
) -> tuple[str, str | None]:
    """Fingerprint and result as JSON, or ``None`` for the result that is there already."""
    mark = _mark(fingerprint, task.item)
    if mark and mark == task.known:
        return mark, None
    return mark, json.dumps(function(task.item), allow_nan=False)


def _mark(fingerprint: Callable[[Item], str], item: Item) -> str:
    """The fingerprint, or nothing where what goes in cannot be read."""
    try:
        return fingerprint(item)
    except (MedsegError, OSError):
        return ""


def _merge(
    items: Sequence[Item],
    key: Callable[[Item], str],
    fingerprint: Callable[[Item], str],
    journal: Journal,
) -> Iterator[Outcome[Item, Any]]:
    entries = [journal.read(key(item)) for item in items]
    marks = [_mark(fingerprint, item) for item in items]
    missing = [
        index
        for index, (entry, mark) in enumerate(zip(entries, marks, strict=True))
        if entry is None or entry.fingerprint != mark
    ]
    if missing:
        raise _incomplete(items, entries, missing, journal)
    for item, entry in zip(items, entries, strict=True):
        if entry is not None and entry.error is not None:
            yield Outcome(item, error=CasesFailedError(entry.error))
        elif entry is not None:
            yield Outcome(item, entry.result)


def _incomplete(
    items: Sequence[Any], entries: Sequence[Entry | None], missing: Sequence[int], journal: Journal
) -> InputError:
    names = ", ".join(str(items[index]) for index in missing[:NAMED])
    more = ", …" if len(missing) > NAMED else ""
    got = f"{len(missing)} missing, or made from other files or settings: {names}{more}"
    splits = {entry.part[1] for entry in entries if entry is not None and entry.part is not None}
    hint = "run their parts again"
    if len(splits) == 1:
        (parts,) = splits
        which = ", ".join(map(str, sorted({index % parts for index in missing})))
        hint = f"run --num-parts {parts} --part-id {which} again"
    return InputError(journal.folder, f"results of {len(items)} cases", got, hint=hint)
