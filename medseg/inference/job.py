"""What the cases of a job have in common: its files, its settings, its model in memory."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path

from medseg import __version__
from medseg.case import Case
from medseg.errors import ModelError, UsageError
from medseg.inference.foreign import ForeignPredictor, check_settings
from medseg.inference.models import card_of, is_foreign, read_any
from medseg.inference.predictor import NO_LABEL, Predictor, PredictSettings
from medseg.volumes import suffix_of
from medseg.volumes.fits import FITS

JOURNAL, MEMORY = ".journal", "inputs"  # in the output folder; in the journal
PROBABILITIES, PROBABILITIES_SUFFIX = "probabilities", ".probabilities.npy"
_LOADING = threading.Lock()


@dataclass(frozen=True)
class Job:
    """What the cases of a job have in common; picklable.

    Attributes:
        models: The model folders or bundles, absolute paths; of several, probabilities are
            averaged.
        cards: SHA-256 of every ``model.json``, which names that of the weights; of a bundle, of
            all that is read.
        output: Folder for the label maps, an absolute path.
        settings: How to run.
        series_uid: Which series, where a DICOM folder or zip holds several.
    """

    models: tuple[Path, ...]
    cards: tuple[str, ...]
    output: Path
    settings: PredictSettings
    series_uid: str | None = None

    @property
    def journal(self) -> Path:
        """Folder of the journal."""
        return self.output / JOURNAL

    @property
    def digest(self) -> str:
        """Hash of all that label maps depend on besides their images."""
        settings = asdict(self.settings)
        for one in fields(self.settings):
            if one.metadata.get(NO_LABEL):
                del settings[one.name]
        about = [__version__, self.cards, self.series_uid, settings]
        plain = json.dumps(about, sort_keys=True, default=str)
        return hashlib.sha256(plain.encode()).hexdigest()

    def target(self, case: Case) -> Path:
        """Where the label map of a case is written; masks of FITS images are FITS as well."""
        fits = isinstance(case.image, Path) and suffix_of(case.image) in FITS
        return self.output / f"{case.case_id}{'.fits' if fits else self.settings.suffix}"

    def outputs(self, case: Case) -> list[Path]:
        """All files that are written for a case."""
        return [self.target(case), *(self.extra(case, name) for name in self.settings.extras)]

    def extra(self, case: Case, name: str) -> Path:
        """Where what is written beside the label map goes, by its name in the settings."""
        suffix = PROBABILITIES_SUFFIX if name == PROBABILITIES else f".{name}.dcm"
        return self.output / f"{case.case_id}{suffix}"


class Room:
    """For so many images in the memory of this process."""

    def __init__(self, size: int) -> None:
        self.size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Wait for room for so many images, and hold it while the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


@dataclass(frozen=True)
class Loaded:
    """The model of a job in this process.

    Attributes:
        predictor: Who holds ``turn`` may use it.
        turn: Threads take turns at the network.
        room: For images: of the case in the network, and of the next one unless memory is
            bounded.
    """

    predictor: Predictor | ForeignPredictor
    room: Room
    turn: threading.Lock = field(default_factory=threading.Lock)


def loaded(job: Job) -> Loaded:
    """The model of a job, read once per process.

    Raises:
        ModelError: If it is missing, damaged, not trusted or not the one of the job.
        UsageError: If the device is not there.
    """
    with _LOADING:
        return _load(job)


def unload() -> None:
    """Let go of the model of the last job."""
    _load.cache_clear()


@lru_cache(maxsize=1)
def _load(job: Job) -> Loaded:
    for folder, card in zip(job.models, job.cards, strict=True):
        if card_of(folder) != card:
            raise ModelError(f"{folder}: the model has changed since the job began; start it again")
    if any(map(is_foreign, job.models)):
        check_settings(job.models, job.settings)
        return Loaded(ForeignPredictor(job.models[0], job.settings), Room(1))
    models = [read_any(folder) for folder in job.models]
    if any(model.spec.preprocessing.sky for model in models):
        _check_exposures(len(models), job.settings)
    return Loaded(Predictor(models, job.settings), Room(images_at_once(job.settings)))


def _check_exposures(models: int, settings: PredictSettings) -> None:
    """Refuse what is not done for exposures, which go through the network in a way of their own."""
    if models > 1:
        raise UsageError("models of exposures cannot be averaged: give one of them")
    if settings.tta != "none":
        raise UsageError("models of exposures are not averaged over flips: leave out tta")
    if PROBABILITIES in settings.extras:
        raise UsageError("models of exposures write no probabilities; see medseg roc")
    if settings.compile:
        raise UsageError("networks for exposures are not compiled: leave out compile")
    if settings.max_memory_gb is not None:
        raise UsageError(
            "exposures are scored as a whole: --max-memory cannot be kept; leave it out"
        )


def images_at_once(settings: PredictSettings) -> int:
    """How many images may be in memory: the next one beside this, unless memory is bounded."""
    return 1 if settings.max_memory_gb is not None else 2
