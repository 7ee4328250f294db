"""Pairs in, their entries in the results out: through processes, parts or a cluster, resumed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from medseg import __version__
from medseg.case import Source
from medseg.evaluation.pairs import Pair
from medseg.files import sha256
from medseg.jobs import JobSettings, Journal, Progress, in_one_line, run_jobs
from medseg.volumes import suffix_of
from medseg.volumes.files import files_of

JOURNAL = ".journal"  # in the output folder; removed once every case is scored


@dataclass
class Entries:
    """What became of the cases.

    Attributes:
        cases: Case id → its entry in the results.
        errors: Case id → why it has none, in one line.
    """

    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def score_pairs(
    score: Callable[[Pair], dict[str, Any]],
    pairs: Sequence[Pair],
    *,
    journal: Journal,
    settings: Mapping[str, Any],
    jobs: JobSettings,
    workers: int,
    progress: Progress,
) -> Entries:
    """Score every pair of this part that nothing speaks against, or recall its entry.

    Args:
        score: Picklable: a function of a module, or a ``partial`` of one.
        pairs: All of them, the same for every part.
        journal: Where entries are kept until all are there.
        settings: Whatever ``score`` depends on besides the pair, as plain data.
        jobs: Which share, and where it is computed.
        workers: Processes on this machine.
        progress: Hears of every finished case.

    Raises:
        InputError: If parts are merged and one or more are missing.
        UsageError: If the cluster cannot be used.
        ResourceError: If the disk is full, or processes cannot be started.
    """
    found = Entries(errors={pair.case_id: pair.reason for pair in pairs if pair.reason})
    there = [pair for pair in pairs if not pair.reason]
    total = len(jobs.share_of(there))
    plain = json.dumps([__version__, dict(settings)], sort_keys=True)
    outcomes = run_jobs(
        score, there, key=_case_id, fingerprint=partial(fingerprint, settings=plain),
        journal=journal, settings=jobs, workers=workers,
    )  # fmt: skip
    progress("Evaluating", 0, total)
    for done, outcome in enumerate(outcomes, 1):
        case_id = outcome.item.case_id
        if outcome.error is None:
            found.cases[case_id] = outcome.unwrap()
        else:
            found.errors[case_id] = in_one_line(outcome.error)
        progress("Evaluating", done, total, case_id)
    return found


def fingerprint(pair: Pair, settings: str) -> str:
    """Hash of all that a case's entry holds or comes from: its files' contents, names, settings.

    The content is hashed, not its time stamps: beside scoring this costs little, and a copy or
    another machine's view of a file does not matter.

    Raises:
        OSError: If a file cannot be read.
    """
    names = [settings, pair.case_id, *map(_plain, (pair.prediction, pair.label, pair.image))]
    names += [json.dumps(list(named.items())) for named in (pair.labels, pair.truth_labels)]
    sources = [source for source in (pair.prediction, pair.label) if source is not None]
    files = [path for source in sources for path in files_of(source)]
    contents = [f"{suffix_of(path)} {sha256(path)}" for path in files]
    return hashlib.sha256(json.dumps([names, contents]).encode()).hexdigest()


def part_done(jobs: JobSettings, pairs: Sequence[Pair], found: Entries) -> dict[str, Any]:
    """What ``evaluate`` returns of one part: the results themselves are made by merging."""
    return {
        "format": "medseg-part/1",
        "part_id": jobs.part_id,
        "num_parts": jobs.num_parts,
        "cases": [pair.case_id for pair in pairs if pair.case_id in found.cases],
        "failures": [
            {"case_id": pair.case_id, "error": found.errors[pair.case_id]}
            for pair in pairs
            if not pair.reason and pair.case_id in found.errors
        ],
    }


def _case_id(pair: Pair) -> str:
    return pair.case_id


def _plain(source: Source | None) -> str:
    sources = source if isinstance(source, tuple) else (source,)
    return "\n".join("" if path is None else str(path.resolve()) for path in sources)
