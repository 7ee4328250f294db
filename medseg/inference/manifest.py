"""``predictions.json``: what became of every case of a job, whoever did it."""

import contextlib
import platform
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.case import Case
from medseg.files import write_json
from medseg.inference.job import MEMORY, Job
from medseg.inference.models import said_of
from medseg.jobs import Journal, Outcome, in_one_line
from medseg.jobs.claims import CLAIMS, WORKERS, forget_dead
from medseg.jobs.lease import HeldError, lease

MANIFEST, FORMAT = "predictions.json", "medseg-predictions/2"
WRITER = "manifest"  # the lease of who writes it, in a folder of that name in the journal
INTERVAL_S = 30.0
POLL_S = 0.05
PACKAGES = ("torch", "monai", "numpy", "nibabel", "SimpleITK")
TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{8}-(.+)")


class Manifest:
    """The manifest of a job, kept up to date as its cases are finished.

    Args:
        job: The job.
        cases: All of them, those of other parts included.
    """

    def __init__(self, job: Job, cases: Sequence[Case]) -> None:
        self.job, self.cases = job, cases
        self._found: dict[str, dict[str, Any]] = {}
        self._journal = Journal(job.journal)
        self._about = _about(job)
        self._written = time.monotonic()

    def add(self, outcome: Outcome[Case, dict[str, Any]]) -> None:
        """Note what became of a case, and write the manifest if the last one is old."""
        self._found[outcome.item.case_id] = _entry(outcome)
        if time.monotonic() - self._written > INTERVAL_S:
            with contextlib.suppress(HeldError), lease(self.job.journal / WRITER, WRITER):
                self._write()

    def finish(self) -> dict[str, Any]:
        """Write the manifest; cases of other processes are taken from the journal.

        One process writes at a time what it reads while nobody else writes, so that the manifest
        of the last one to finish knows all that any of them did.
        """
        with _turn(self.job.journal / WRITER):
            content = self._write()
            sweep(self.job, self.cases, content)
        return content

    def _write(self) -> dict[str, Any]:
        entries = [self._found.get(case.case_id) or self._recall(case) for case in self.cases]
        first = next((entry for entry in entries if entry.get("path")), {})
        content = self._about | {
            "device": first.get("device", self.job.settings.device),
            "path": first.get("path"),
            "cases": [
                {"case_id": case.case_id, "image": _plain(case), **entry}
                for case, entry in zip(self.cases, entries, strict=True)
            ],
        }
        write_json(self.job.output / MANIFEST, content)
        self._written = time.monotonic()
        return content

    def _recall(self, case: Case) -> dict[str, Any]:
        entry = self._journal.read(case.case_id)
        if entry is None or entry.begun:
            return {"status": "pending"}
        if entry.error is not None:
            return {"status": "failed", "error": entry.error}
        return {"status": "done", **entry.result}


def sweep(job: Job, cases: Sequence[Case], content: dict[str, Any]) -> None:
    """Remove what killed processes left half written, once nobody can be writing it.

    Whoever makes a lease or a note of an image's hash does without it or tries again.
    """
    statuses = {entry["case_id"]: entry["status"] for entry in content["cases"]}
    journal = Journal(job.journal)
    done = [case for case in cases if statuses[case.case_id] != "pending"]
    names = {MANIFEST, *(path.name for case in done for path in job.outputs(case))}
    names |= {f"{journal.name(case.case_id)}.json" for case in done}
    for folder in (job.output, job.journal):
        for path in folder.glob(".tmp-*"):
            temporary = TEMPORARY.fullmatch(path.name)
            if temporary and temporary[1] in names:
                path.unlink(missing_ok=True)
    for name in (CLAIMS, WORKERS, WRITER, MEMORY):
        for path in (job.journal / name).glob(".tmp-*"):
            path.unlink(missing_ok=True)
    forget_dead(job.journal)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Wait for one's turn to write."""
    while True:
        with contextlib.suppress(HeldError), lease(folder, WRITER):
            yield
            return
        time.sleep(POLL_S)


def _entry(outcome: Outcome[Case, dict[str, Any]]) -> dict[str, Any]:
    if outcome.error is not None:
        return {"status": "failed", "error": in_one_line(outcome.error)}
    return {"status": "done", **outcome.unwrap()}


def _plain(case: Case) -> str | list[str]:
    if isinstance(case.image, tuple):
        return [_absolute(path) for path in case.image]
    return _absolute(case.image)


def _absolute(path: Path) -> str:
    """Resolved; a loop of links, which leads nowhere, stays as it is."""
    try:
        return str(path.resolve())
    except (OSError, RuntimeError):
        return str(path.absolute())


def _about(job: Job) -> dict[str, Any]:
    cards = [said_of(folder) for folder in job.models]
    models = [
        {
            "folder": str(folder),
            "card_sha256": digest,
            "weights_sha256": card["weights_sha256"],
            "network": card["network"],
        }
        for folder, digest, card in zip(job.models, job.cards, cards, strict=True)
    ]
    settings = job.settings
    return {
        "format": FORMAT,
        "versions": {"medseg": __version__, "python": platform.python_version(), **_packages()},
        "labels": cards[0]["labels"],
        "model": models[0],
        **({"ensemble": models} if len(models) > 1 else {}),
        "settings": {
            "format": settings.suffix,
            "precision": settings.precision,
            **({} if settings.overlap is None else {"overlap": settings.overlap}),
            **({} if settings.tta == "none" else {"tta": settings.tta}),
            **({} if job.series_uid is None else {"series_uid": job.series_uid}),
        },
    }


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
