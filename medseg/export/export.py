"""``medseg export`` and ``medseg verify``."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.errors import InputError, UsageError
from medseg.export.bundle import write_bundle
from medseg.export.cases import made_up_cases
from medseg.export.networks import ENGINES, write_network
from medseg.export.proof import (
    CERTIFICATE,
    agreement,
    certify,
    check,
    check_files,
    compare_cases,
    logits_of_export,
    read_logits,
    run_export,
)
from medseg.export.trust import check_trusted
from medseg.files import atomic_path, read_json, sha256
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.jobs import Progress, silent
from medseg.model import WEIGHTS, LoadedModel, read_model
from medseg.volumes import read_volume, write_volume

FORMATS = ("bundle", *ENGINES)
PROOF = "proof"  # folder of an export: images, the model's label maps, and its logits


def export(
    model: str | Path,
    output: str | Path,
    *,
    format: str = "bundle",
    images: Sequence[str | Path] = (),
    about: Mapping[str, Any] | str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a model as something that runs without us, and prove that it gives the same.

    The export is run again in a process of its own on ``images``, or on ten made-up volumes of
    different grids, and compared with the model. It stands under its name only if it agrees.

    Args:
        model: Model folder.
        output: Folder to write.
        format: ``"bundle"`` (MONAI), ``"onnx"``, ``"torch-export"`` or ``"torchscript"``.
        images: NIfTI images to prove it on; they are not put into the export. None makes some up,
            which are.
        about: What a bundle's metadata say of the model, or a JSON file of it; see
            :func:`medseg.export.bundle.write_bundle`.
        overwrite: Replace an export that is there.
        progress: Hears of every case.

    Returns:
        The certificate, which is written into the export as well.

    Raises:
        ModelError: If the model cannot be read, or the export gives something else.
        UsageError: If the format is unknown or the model cannot be said in it.
    """
    if format not in FORMATS:
        raise UsageError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    folder = Path(output)
    loaded = read_model(model)
    said = read_about(about)
    with _whole(folder, overwrite=overwrite) as new:
        if format == "bundle":
            write_bundle(loaded, new, said)
        else:
            write_network(loaded, new, format)
        files = [Path(image) for image in images] or made_up_cases(
            loaded.spec, new / PROOF / "images"
        )
        kept = new / PROOF if not images else None
        origin = {
            "network": loaded.spec.network["_target_"],
            "weights_sha256": sha256(Path(model) / WEIGHTS),
        }
        return _prove(loaded, new, format, files, kept, origin, progress)


def verify(
    folder: str | Path, *, trust: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Repeat the proof of an export: its files by their hashes, its label maps by running it.

    Args:
        folder: An export that was proved on made-up volumes.
        trust: Run it even if it holds other code than this version writes.
        progress: Hears of the steps.

    Raises:
        InputError: If it was proved on images that are not part of it.
        ModelError: If a file was changed, if it holds code of others, or if it gives something
            else than it did.
    """
    folder = Path(folder).resolve()
    certificate = check_files(folder)
    if not trust:
        check_trusted(folder, certificate)
    images = folder / PROOF / "images"
    if not images.is_dir():
        raise InputError(folder, f"an export with {PROOF}/images", "one proved on other images")
    wanted = sorted((folder / PROOF / "labels").glob("*.nii.gz"))
    progress("Running the export", 0, 2)
    with tempfile.TemporaryDirectory() as scratch:
        found = run_export(folder, images, Path(scratch) / "labels")
        labels = {organ: int(value) for organ, value in certificate["model"]["labels"].items()}
        rows = compare_cases(wanted, found, labels)
        progress("Running the export", 1, 2)
        inputs = folder / PROOF / "logits.npz"
        logits = _difference(folder, inputs, Path(scratch))
    progress("Running the export", 2, 2)
    check(folder, rows, logits)
    return {
        "format": certificate["format"],
        **agreement(rows),
        "largest_logit_difference": logits[0],
        "cases": rows,
        "files": len(certificate["files"]),
    }


def read_about(about: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    """Fields for people, given or from a JSON file.

    Raises:
        InputError: If the file is no mapping.
    """
    if isinstance(about, (str, Path)):
        content = read_json(about)
        if not isinstance(content, dict):
            raise InputError(about, "a mapping of fields", type(content).__name__)
        return content
    return dict(about or {})


@contextmanager
def _whole(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder under a temporary name that takes its own when the block ends well."""
    if folder.exists() and not (overwrite and (folder / CERTIFICATE).is_file()):
        again = "--overwrite replaces it" if (folder / CERTIFICATE).is_file() else "no export"
        raise UsageError(f"{folder}: there already ({again}); choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{folder.name}").absolute()
    new.mkdir()
    try:
        yield new
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _prove(
    loaded: LoadedModel, folder: Path, kind: str, images: Sequence[Path], kept: Path | None,
    origin: Mapping[str, Any], progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        aside = Path(scratch)
        inputs = folder / PROOF / "logits.npz"
        _write_logits(loaded, inputs)
        linked = _linked(images, aside / "images")
        wanted = _predicted(loaded, linked, (kept or aside) / "labels", progress)
        progress("Running the export", 0, 1)
        found = run_export(folder, aside / "images", aside / "found")
        rows = compare_cases(wanted, found, loaded.spec.labels)
        logits = _difference(folder, inputs, aside)
        progress("Running the export", 1, 1)
    return certify(folder, kind, rows, logits, {**origin, "labels": dict(loaded.spec.labels)})


def _linked(images: Sequence[Path], folder: Path) -> list[Path]:
    """The images side by side under names that cannot clash; NIfTI only."""
    folder.mkdir(parents=True)
    linked = []
    for index, image in enumerate(images):
        if not image.name.endswith((".nii", ".nii.gz")):
            raise InputError(image, "a NIfTI image", image.suffix or "a name without suffix")
        link = folder / f"{index:03d}_{image.name}"
        link.symlink_to(image.resolve())
        linked.append(link)
    return linked


def _predicted(
    loaded: LoadedModel, images: Sequence[Path], folder: Path, progress: Progress
) -> list[Path]:
    files = []
    with Predictor(loaded, PredictSettings(device="cpu", precision="float32")) as predictor:
        for done, image in enumerate(images):
            progress("Predicting", done, len(images), image.name)
            path = folder / (image.name.removesuffix(".gz").removesuffix(".nii") + ".nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(path, predictor(read_volume(image)))
            files.append(path)
    progress("Predicting", len(images), len(images))
    return files


def _write_logits(loaded: LoadedModel, path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, *loaded.spec.geometry.input_shape, generator=generator)
    with torch.inference_mode():
        logits = loaded.network.eval()(image)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, image=image.numpy(), logits=logits.numpy())


def _difference(folder: Path, inputs: Path, scratch: Path) -> tuple[float, float]:
    """Largest difference of a logit, and the largest logit."""
    wanted = read_logits(inputs)
    found = logits_of_export(folder, inputs, scratch / "logits.npy")
    return float(np.abs(wanted - found).max()), float(np.abs(wanted).max())
