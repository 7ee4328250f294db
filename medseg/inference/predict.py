"""Volumes in, label maps on their own grids out."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Case
from medseg.errors import InputError, MedsegError, UsageError
from medseg.files import sha256, write_json
from medseg.inference.exposures import predict_exposure
from medseg.inference.inputs import cases_of
from medseg.inference.predictor import Predictor, PredictSettings, pick_device, predict_volume
from medseg.jobs import Outcome, Progress, run_each, silent
from medseg.model import read_model
from medseg.volumes import Volume, read_volume, suffix_of, write_label_map
from medseg.volumes.fits import FITS

__all__ = ["PredictSettings", "Predictor", "pick_device", "predict", "predict_volume"]
MANIFEST = "predictions.json"


def predict(
    input: str | Path,
    output: str | Path,
    *,
    model: str | Path,
    settings: PredictSettings | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Predict one label map per case on the grid of its input file.

    Args:
        input: A volume, a folder of volumes, or a case list (JSON).
        output: Folder for the label maps, each named after its case; made if missing.
        model: Model folder, or run folder with ``model/`` in it.
        settings: How to run; the defaults suit most.
        progress: Hears of every finished case.

    Returns:
        What ``predictions.json`` in the folder holds: the organs' values, the path through the
        network, and per case its label map, seconds and, if it failed, the error. One bad case
        never stops the others; the error of an only case is raised.

    Raises:
        InputError: If there is nothing to predict, or the only case cannot be read.
        ModelError: If the model is missing, damaged or not trusted.
        UsageError: If label maps are there already and ``overwrite`` is off.
    """
    settings = settings or PredictSettings()
    cases, output = cases_of(input), Path(output)
    outputs = {case.case_id: output / f"{case.case_id}{_suffix(case, settings)}" for case in cases}
    _refuse_overwriting(outputs, settings)
    model_folder = model_folder_of(model)
    loaded = read_model(model_folder)
    predictor = Predictor(loaded, settings)

    def predict_and_write(case: Case) -> dict[str, Any]:
        start = time.perf_counter()
        if loaded.spec.preprocessing.sky is not None:
            label_map = predict_exposure(
                loaded, case, batch_size=settings.batch_size, device=predictor.device,
                precision=settings.precision,
            )  # fmt: skip
        else:
            label_map = predictor(_read_image(case))
        write_label_map(outputs[case.case_id], label_map)
        return {"status": "done", "seconds": round(time.perf_counter() - start, 3)}

    entries: list[dict[str, Any]] = []
    progress("Predicting", 0, len(cases))
    for outcome in run_each(predict_and_write, cases):
        if len(cases) == 1:
            outcome.unwrap()
        entries.append(_entry(outcome, outputs[outcome.item.case_id]))
        progress("Predicting", len(entries), len(cases), outcome.item.case_id)
    manifest = _manifest(predictor, model_folder, entries)
    write_json(output / MANIFEST, manifest)
    return manifest


def model_folder_of(path: str | Path) -> Path:
    """The model folder at ``path`` itself, or within the run folder that ``path`` is."""
    inner = Path(path) / "model"
    return inner if (inner / "model.json").is_file() else Path(path)


def _entry(outcome: Outcome[Case, dict[str, Any]], output: Path) -> dict[str, Any]:
    entry = {"case_id": outcome.item.case_id, "image": _plain(outcome.item)}
    if outcome.error is not None:
        return entry | {"status": "failed", "error": _one_line(outcome.error)}
    return entry | {"prediction": output.name, **outcome.unwrap()}


def _suffix(case: Case, settings: PredictSettings) -> str:
    """FITS images have their masks as FITS: other formats would not keep their axes."""
    fits = isinstance(case.image, Path) and suffix_of(case.image) in FITS
    return ".fits" if fits else settings.suffix


def _read_image(case: Case) -> Volume:
    volume = read_volume(case.image)
    if not np.isfinite(volume.array).all():
        path = case.image if isinstance(case.image, Path) else case.image[0]
        raise InputError(path, "finite voxels", "NaN or infinity")
    return volume


def _refuse_overwriting(outputs: Mapping[str, Path], settings: PredictSettings) -> None:
    there = [path for path in outputs.values() if path.exists()]
    if there and not settings.overwrite:
        raise UsageError(f"{there[0]}: there already, as are {len(there) - 1} more; --overwrite")


def _plain(case: Case) -> str | list[str]:
    if isinstance(case.image, tuple):
        return [str(path.resolve()) for path in case.image]
    return str(case.image.resolve())


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _manifest(predictor: Predictor, folder: Path, entries: list[dict[str, Any]]) -> dict[str, Any]:
    spec, path = predictor.model.spec, predictor.path
    return {
        "labels": dict(spec.labels),
        "model": {
            "folder": str(folder.resolve()),
            "card_sha256": sha256(folder / "model.json"),
            "network": str(spec.network["_target_"]),
        },
        "device": str(predictor.device),
        "path": path.to_plain() if path else None,
        "cases": entries,
    }
