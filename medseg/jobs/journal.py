"""What is done already, one small file per item, so that a run that was stopped can go on."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.files import write_text
from medseg.jobs.lease import WHOLE, lease
from medseg.jobs.settings import JobSettings

FORMAT = "medseg-journal/1"


@dataclass(frozen=True)
class Entry:
    """What became of one item.

    Attributes:
        fingerprint: Of what went in; an entry holds for this alone. Empty: not known.
        result: Plain data, or ``None`` if it failed.
        error: Why it failed, in one line, or ``None``.
        part: (part_id, num_parts) of the process that wrote it, or ``None``.
    """

    fingerprint: str
    result: Any = None
    error: str | None = None
    part: tuple[int, int] | None = None

    @property
    def begun(self) -> bool:
        """Whether it says only that somebody has begun, and what is there may be theirs."""
        return self.result is None and self.error is None


BEGUN = Entry("")


class Journal:
    """Entries of items in a folder, by key.

    Args:
        folder: Holds nothing else; made when the first entry is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> Entry | None:
        """The entry of an item, or ``None`` if there is none or it is damaged."""
        try:
            content = json.loads(self._path(key).read_bytes())
            body = content["entry"]
            if content["format"] != FORMAT or content["sha256"] != _digest(key, body):
                return None
            part = None if body["part"] is None else (int(body["part"][0]), int(body["part"][1]))
            return Entry(body["fingerprint"], body["result"], body["error"], part)
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def write(self, key: str, entry: Entry) -> None:
        """Keep the entry of an item, whole or not at all.

        Raises:
            ResourceError: If the disk is full.
            TypeError, ValueError: If the result is no plain data, or holds NaN or infinity.
        """
        body = {
            "fingerprint": entry.fingerprint, "result": entry.result,
            "error": entry.error, "part": entry.part,
        }  # fmt: skip
        content = {"format": FORMAT, "key": key, "sha256": _digest(key, body), "entry": body}
        write_text(self._path(key), json.dumps(content, ensure_ascii=False, allow_nan=False))

    def stamp(self, key: str) -> tuple[int, int]:
        """Tells one writing of an item's entry from the next; (0, 0) if there is none.

        Damaged entries have one as well.
        """
        try:
            stat = self._path(key).stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_ino

    def name(self, key: str) -> str:
        """A file name for whatever belongs to an item."""
        return self._path(key).stem

    def remove(self) -> None:
        """Forget everything: the results are written elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        """A safe name that tells people the key, and a hash that tells keys apart."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:12]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', key)[:80]}-{digest}.json"


@contextmanager
def open_journal(folder: Path, settings: JobSettings) -> Iterator[Journal]:
    """The journal in ``folder``, held for this part of the work while the block runs.

    Raises:
        UsageError: If another process is at the same part, or, where all parts are concerned,
            at any.
    """
    name = WHOLE if settings.part is None else "part-{}-of-{}".format(*settings.part)
    with lease(folder, name):
        yield Journal(folder)


def _digest(key: str, body: dict[str, Any]) -> str:
    plain = json.dumps([key, body], sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()
