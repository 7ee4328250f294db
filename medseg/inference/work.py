"""One case of a job: read, predict, write, say what became of it; in any process."""

import gc
import gzip
import hashlib
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from medseg.case import Case
from medseg.errors import DiskFullError, InputError, ResourceError
from medseg.files import sha256
from medseg.inference.exposures import predict_exposure
from medseg.inference.foreign import ForeignPredictor
from medseg.inference.inputs import read_image
from medseg.inference.job import MEMORY, PROBABILITIES, Job, Loaded, loaded
from medseg.inference.predictor import Predictor
from medseg.jobs import in_turn
from medseg.loading.content import Content, content_of, state_of
from medseg.volumes import Volume, choose_series, is_dicom_path, write_label_map
from medseg.volumes.dicom_source import Algorithm
from medseg.volumes.files import files_of

BLOCK = 1 << 20


def predict_case(job: Job, case: Case) -> dict[str, Any]:
    """Predict and write one case; the model is loaded when a process first needs it.

    Returns:
        Plain data: name and hash of the label map, hash of the image, path through the network,
        seconds in all, waiting for the network left out, and by step.

    Raises:
        InputError: If the image cannot be used.
        ModelError: If the model is not the one of the job.
        ResourceError: If memory runs out even with the smallest batches.
        DiskFullError: If the disk is full.
    """
    start, target, content = time.perf_counter(), job.target(case), _content(job, case)
    model = loaded(job)
    times: dict[str, float] = {}
    label_map = _predict(job, model, case, times)
    before = time.perf_counter()
    try:
        if state_of(files_of(case.image)) != content.state:
            raise InputError(_first(case), "a file at rest", "one that changed while it was read")
        write_label_map(target, label_map)
        extras = write_extras(job, case, label_map, model.predictor)
    except BaseException:
        job.extra(case, PROBABILITIES).unlink(missing_ok=True)
        raise
    times["write"] = time.perf_counter() - before
    return {
        "prediction": target.name,
        "seconds": round(time.perf_counter() - start - times.pop("wait"), 3),
        "timings": {step: round(seconds, 3) for step, seconds in times.items()},
        "device": str(model.predictor.device),
        "path": model.predictor.path.to_plain() if model.predictor.path else None,
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


def _predict(job: Job, model: Loaded, case: Case, times: dict[str, float]) -> Volume:
    """Label map of a case, alone in memory if there was too little beside another one."""
    if model.room.size > 1:
        try:
            with model.room.take(1):
                return _predict_one(job, model, case, times)
        except DiskFullError:
            raise
        except (MemoryError, ResourceError):
            gc.collect()
    with model.room.take(model.room.size):
        return _predict_one(job, model, case, times)


def _predict_one(job: Job, model: Loaded, case: Case, times: dict[str, float]) -> Volume:
    predictor = model.predictor
    if isinstance(predictor, Predictor) and predictor.model.spec.preprocessing.sky is not None:
        run = partial(
            predict_exposure, predictor.model, case, batch_size=job.settings.batch_size,
            device=predictor.device, precision=job.settings.precision,
        )  # fmt: skip
    else:
        start = time.perf_counter()
        volume = read_image(case, job.series_uid)
        times["read"] = time.perf_counter() - start
        wanted = PROBABILITIES in job.settings.extras
        run = partial(predictor, volume, job.extra(case, PROBABILITIES) if wanted else None)
    before = time.perf_counter()

    def timed() -> Volume:
        with model.turn:
            start = time.perf_counter()
            label_map = run()
            times["wait"], times["network"] = start - before, time.perf_counter() - start
            return label_map

    return in_turn(timed)


def write_extras(
    job: Job, case: Case, label_map: Volume, predictor: Predictor | ForeignPredictor
) -> list[Path]:
    """Write what was asked for beside the label map; other cases than DICOM series have less.

    Returns:
        All files beside the label map, the probabilities, written before, included.

    Raises:
        InputError: If a header of the series cannot be used.
        DiskFullError: If the disk is full.
    """
    wanted = [name for name in job.settings.extras if name != PROBABILITIES]
    written = [job.extra(case, name) for name in job.settings.extras if name == PROBABILITIES]
    if not wanted or not isinstance(case.image, Path) or not is_dicom_path(case.image):
        return written
    from medseg.volumes.dicom_rtstruct import write_rtstruct
    from medseg.volumes.dicom_seg import write_seg

    writers = {"seg": write_seg, "rtstruct": write_rtstruct}
    series = choose_series(case.image, job.series_uid)
    algorithm = Algorithm(model=predictor.network_name.rpartition(".")[2])
    for name in wanted:
        path = job.extra(case, name)
        writers[name](path, label_map, series, predictor.labels, algorithm=algorithm)
        written.append(path)
    return written


def _content(job: Job, case: Case) -> Content:
    return content_of(case.image, job.journal / MEMORY)


def _first(case: Case) -> Path:
    return case.image if isinstance(case.image, Path) else case.image[0]
