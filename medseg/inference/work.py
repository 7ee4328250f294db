"""One case of a job: read, predict, write, say what became of it; in any process."""

import gzip
import hashlib
import json
import threading
import time
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.case import Case
from medseg.errors import InputError, ModelError, UsageError
from medseg.files import sha256
from medseg.inference.exposures import predict_exposure
from medseg.inference.inputs import read_image
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.loading.content import Content, content_of, state_of
from medseg.model import CARD, ModelSpec, read_model
from medseg.volumes import Volume, choose_series, is_dicom_path, suffix_of, write_label_map
from medseg.volumes.dicom_source import Algorithm
from medseg.volumes.files import files_of
from medseg.volumes.fits import FITS

JOURNAL, MEMORY = ".journal", "inputs"  # in the output folder; in the journal
NOT_IN_LABELS = {"device", "batch_size", "overwrite", "max_memory_gb"}  # no label depends on them
BLOCK = 1 << 20
_LOADING = threading.Lock()


@dataclass(frozen=True)
class Job:
    """What the cases of a job have in common; picklable.

    Attributes:
        models: The model folders, absolute paths; of several, probabilities are averaged.
        cards: SHA-256 of every ``model.json``, which names that of the weights.
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
        settings = {k: v for k, v in asdict(self.settings).items() if k not in NOT_IN_LABELS}
        about = [__version__, self.cards, self.series_uid, settings]
        plain = json.dumps(about, sort_keys=True, default=str)
        return hashlib.sha256(plain.encode()).hexdigest()

    def target(self, case: Case) -> Path:
        """Where the label map of a case is written; masks of FITS images are FITS as well."""
        fits = isinstance(case.image, Path) and suffix_of(case.image) in FITS
        return self.output / f"{case.case_id}{'.fits' if fits else self.settings.suffix}"


def predict_case(job: Job, case: Case) -> dict[str, Any]:
    """Predict and write one case; the model is loaded when a process first needs it.

    Returns:
        Plain data: name and hash of the label map, hash of the image, path through the network,
        seconds in all and by step.

    Raises:
        InputError: If the image cannot be used.
        ModelError: If the model is not the one of the job.
        ResourceError: If memory runs out even with the smallest batches.
        DiskFullError: If the disk is full.
    """
    start, target, content = time.perf_counter(), job.target(case), _content(job, case)
    predictor, lock = loaded(job)
    with lock:  # threads of one process take turns at its network
        label_map, times = _predict(job, predictor, case)
    if state_of(files_of(case.image)) != content.state:
        raise InputError(_first(case), "a file at rest", "one that changed while it was read")
    before = time.perf_counter()
    write_label_map(target, label_map)
    extras = write_extras(job, case, label_map, predictor.model.spec)
    times["write"] = time.perf_counter() - before
    return {
        "prediction": target.name,
        "seconds": round(time.perf_counter() - start, 3),
        "timings": {step: round(seconds, 3) for step, seconds in times.items()},
        "device": str(predictor.device),
        "path": predictor.path.to_plain() if predictor.path else None,
        "input_sha256": content.digest if len(content.hashes) > 1 else content.hashes[0],
        "output_sha256": sha256(target),
        **({"extras": {path.name: sha256(path) for path in extras}} if extras else {}),
    }


def fingerprint(job: Job, case: Case) -> str:
    """Hash of the image's content and of all else that a label map depends on.

    Raises:
        InputError: If the image cannot be read.
    """
    plain = f"{job.digest} {case.case_id} {_content(job, case).digest}"
    return hashlib.sha256(plain.encode()).hexdigest()


def holds(job: Job, case: Case, result: dict[str, Any]) -> bool:
    """Whether the label map is there, as it was written, and can be unpacked to the end."""
    target = job.target(case)
    try:
        if result["prediction"] != target.name or sha256(target) != result["output_sha256"]:
            return False
        for name, known in result.get("extras", {}).items():
            if sha256(job.output / name) != known:
                return False
        if target.suffix == ".gz":
            with gzip.open(target) as file:
                while file.read(BLOCK):
                    pass
    except (OSError, EOFError, zlib.error, LookupError, TypeError, AttributeError):
        return False
    return True


def loaded(job: Job) -> tuple[Predictor, threading.Lock]:
    """The model of a job, read once per process; who holds the lock may use it.

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
def _load(job: Job) -> tuple[Predictor, threading.Lock]:
    for folder, card in zip(job.models, job.cards, strict=True):
        if card_of(folder) != card:
            raise ModelError(f"{folder}: the model has changed since the job began; start it again")
    models = [read_model(folder) for folder in job.models]
    if len(models) > 1 and any(model.spec.preprocessing.sky for model in models):
        raise UsageError("models of exposures cannot be averaged: give one of them")
    return Predictor(models, job.settings), threading.Lock()


def card_of(model: Path) -> str:
    """SHA-256 of a model folder's card.

    Raises:
        ModelError: If there is none.
    """
    try:
        return sha256(model / CARD)
    except OSError as error:
        said = f"{CARD}: {(error.strerror or str(error)).lower()}"
        raise ModelError(f"{model}: expected a model folder, got {said}") from error


def _predict(job: Job, predictor: Predictor, case: Case) -> tuple[Volume, dict[str, float]]:
    start = time.perf_counter()
    if predictor.model.spec.preprocessing.sky is not None:
        label_map = predict_exposure(
            predictor.model, case, batch_size=job.settings.batch_size, device=predictor.device,
            precision=job.settings.precision,
        )  # fmt: skip
        return label_map, {"network": time.perf_counter() - start}
    volume = read_image(case, job.series_uid)
    middle = time.perf_counter()
    label_map = predictor(volume)
    return label_map, {"read": middle - start, "network": time.perf_counter() - middle}


def write_extras(job: Job, case: Case, label_map: Volume, spec: ModelSpec) -> list[Path]:
    """Write what was asked for beside the label map of a DICOM series; other cases have none.

    Raises:
        InputError: If a header of the series cannot be used.
        DiskFullError: If the disk is full.
    """
    if not job.settings.extras or not isinstance(case.image, Path) or not is_dicom_path(case.image):
        return []
    from medseg.volumes.dicom_rtstruct import write_rtstruct
    from medseg.volumes.dicom_seg import write_seg

    writers = {"seg": write_seg, "rtstruct": write_rtstruct}
    series = choose_series(case.image, job.series_uid)
    algorithm = Algorithm(model=str(spec.network["_target_"]).rpartition(".")[2])
    written = []
    for name in job.settings.extras:
        path = job.output / f"{case.case_id}.{name}.dcm"
        writers[name](path, label_map, series, spec.labels, algorithm=algorithm)
        written.append(path)
    return written


def _content(job: Job, case: Case) -> Content:
    return content_of(case.image, job.journal / MEMORY)


def _first(case: Case) -> Path:
    return case.image if isinstance(case.image, Path) else case.image[0]
