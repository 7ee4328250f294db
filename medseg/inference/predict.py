"""Volumes in, label maps on their own grids out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg.case import Case
from medseg.errors import InputError, MedsegError, ResourceError, UsageError
from medseg.files import sha256, write_json
from medseg.inference.exposures import predict_exposure
from medseg.inference.inputs import cases_of
from medseg.inference.native import (
    paint_labels,
    resample_logits,
    same_grid,
    turn_to_native,
)
from medseg.inference.path import Path as NetworkPath
from medseg.inference.path import check_precision, choose_path
from medseg.inference.slices import logits_of_slices, predict_slices, sample_inputs
from medseg.jobs import Outcome, Progress, run_each, silent
from medseg.loading.preprocessing import prepare_image
from medseg.model import LoadedModel, ModelSpec, read_model
from medseg.volumes import Header, Volume, read_volume, suffix_of, write_label_map
from medseg.volumes.fits import FITS

MANIFEST = "predictions.json"


@dataclass(frozen=True)
class PredictSettings:
    """How the network is run.

    Attributes:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        batch_size: Slices per forward pass.
        precision: ``"auto"``, the quickest that is safe; ``"float32"``, ``"bfloat16"`` or, on
            CUDA, ``"float16"``; see :func:`medseg.inference.path.choose_path`.
        suffix: Format of the label maps; those of FITS images are FITS.
        overwrite: Replace label maps that are there already.
    """

    device: str = "auto"
    batch_size: int = 16
    precision: str = "auto"
    suffix: str = ".nii.gz"
    overwrite: bool = False


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


class Predictor:
    """Predict one volume after the other, on the quickest safe path through the network.

    Args:
        model: Stays as it is, but that its network is moved to the device.
        settings: How to run; ``suffix`` and ``overwrite`` do not matter here.

    Attributes:
        path: How the network is run, chosen on slices of the first volume; ``None`` before.

    Raises:
        UsageError: If device or precision are unknown or not there.
    """

    def __init__(self, model: LoadedModel, settings: PredictSettings | None = None) -> None:
        self.model = model
        self.settings = settings or PredictSettings()
        self.device = pick_device(self.settings.device)
        check_precision(self.settings.precision, self.device)
        self.path: NetworkPath | None = None
        model.network.to(self.device)

    def __call__(self, volume: Volume) -> Volume:
        """Label map of a volume on its own grid.

        Raises:
            ResourceError: If memory ran out.
        """
        run = {"batch_size": self.settings.batch_size, "device": self.device}
        return _label_map(self.model.spec, volume, self._network_for, run)

    def _network_for(self, images: np.ndarray) -> nn.Module:
        if self.path is None:
            sample = sample_inputs(images, self.model.spec.geometry, self.device)
            self.path = choose_path(self.model.network, sample, self.settings.precision)
        return self.path.network


def predict_volume(
    model: LoadedModel,
    volume: Volume,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> Volume:
    """Label map of one volume on its own grid: same shape, affine and orientation.

    The network is run as it is, under autocast if ``precision`` is not float32;
    :class:`Predictor` is faster for whole volumes.

    Raises:
        ResourceError: If memory ran out.
    """
    run = {"batch_size": batch_size, "device": device, "precision": precision}
    return _label_map(model.spec, volume, lambda _: model.network, run)


def model_folder_of(path: str | Path) -> Path:
    """The model folder at ``path`` itself, or within the run folder that ``path`` is."""
    inner = Path(path) / "model"
    return inner if (inner / "model.json").is_file() else Path(path)


def pick_device(name: str) -> torch.device:
    """Turn ``auto`` into the GPU if there is one.

    Raises:
        UsageError: If the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name!r}: there is no CUDA device here; use cpu or auto")
    return device


def _label_map(
    spec: ModelSpec,
    volume: Volume,
    network_for: Callable[[np.ndarray], nn.Module],
    run: dict[str, Any],
) -> Volume:
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    prepared = prepare_image(volume, spec.preprocessing)
    images = np.ascontiguousarray(prepared.array.transpose(2, 0, 1))  # (Z, X, Y)
    try:
        network = network_for(images)
        if same_grid(prepared.affine, prepared.array.shape, native):
            classes = predict_slices(network, images, spec.geometry, **run)
            on_native = turn_to_native(classes.transpose(1, 2, 0), native)
        else:
            batches = logits_of_slices(network, images, spec.geometry, **run)
            logits = np.concatenate([part.half().cpu().numpy() for _, part in batches])
            on_native = resample_logits(logits.transpose(1, 2, 3, 0), prepared.affine, native)
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        lacking = f"out of memory on {run['device']}; try a smaller --batch-size"
        raise ResourceError(lacking) from error
    return paint_labels(on_native, dict(spec.labels), native)


def _entry(outcome: Outcome[Case, dict[str, Any]], output: Path) -> dict[str, Any]:
    entry = {"case_id": outcome.item.case_id, "image": _plain(outcome.item)}
    if outcome.error is not None:
        return entry | {"status": "failed", "error": _one_line(outcome.error)}
    return entry | {"prediction": output.name, **outcome.unwrap()}


def _lacks_memory(error: Exception) -> bool:
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)


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
