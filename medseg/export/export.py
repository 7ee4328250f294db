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
from medseg.export.about import read_about
from medseg.export.bundle import list_large, write_bundle
from medseg.export.cases import made_up_cases
from medseg.export.networks import ENGINES, write_network
from medseg.export.pictures import PREVIEW, put_curves, put_preview
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
from medseg.export.results import results_of
from medseg.export.trust import check_trusted
from medseg.files import atomic_path, sha256
from medseg.inference.predict import model_folder_of
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.jobs import Progress, silent
from medseg.model import WEIGHTS, LoadedModel, read_model
from medseg.volumes import read_volume, write_volume

FORMATS = ("bundle", *ENGINES)
PROOF = "proof"  # folder of an export: images, the model's label maps, and its logits
IMAGE_SHOWN = "An image, with what the model finds in it"
MADE_UP_SHOWN = "A volume made up for the proof of this export, with what the model finds in it"


def export(
    model: str | Path,
    output: str | Path,
    *,
    format: str = "bundle",
    images: Sequence[str | Path] = (),
    about: Mapping[str, Any] | str | Path | None = None,
    results: str | Path | None = None,
    picture: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a model as something that runs without us, and prove that it gives the same.

    The export is run again in a process of its own on ``images``, or on ten made-up volumes of
    different grids, and compared with the model. It stands under its name only if it agrees.

    Args:
        model: Model folder or run folder; the card of a bundle shows the curves of a run.
        output: Folder to write.
        format: ``"bundle"`` (MONAI), ``"onnx"``, ``"torch-export"`` or ``"torchscript"``.
        images: NIfTI images to prove it on; they are not put into the export. None makes some up,
            which are.
        about: What a bundle's metadata say of the model, or a JSON or YAML file of it; see
            :func:`medseg.export.bundle.write_bundle`.
        results: ``results.json`` of ``evaluate`` for the card, or its folder. Without it the card
            has the figures of the model's own validation.
        picture: Show one of ``images`` on a bundle's card; made-up volumes are always shown.
        overwrite: Replace an export that is there.
        progress: Hears of every case.

    Returns:
        The certificate, which is written into the export as well.

    Raises:
        InputError: If ``about``, ``results`` or an image cannot be used.
        ModelError: If the model cannot be read, or the export gives something else.
        UsageError: If the format is unknown or the model cannot be said in it.
    """
    if format not in FORMATS:
        raise UsageError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    source = model_folder_of(model)
    loaded, said = read_model(source), read_about(about)
    measured = None if results is None else results_of(results, loaded.spec.labels)
    caption = (IMAGE_SHOWN if picture else None) if images else MADE_UP_SHOWN
    with _whole(Path(output), overwrite=overwrite) as new:
        if format == "bundle":
            pictures = {PREVIEW: caption} if caption else {}
            pictures |= put_curves(source.absolute().parent, new / "docs")
            write_bundle(loaded, new, said, results=measured, pictures=pictures)
        else:
            caption = None
            write_network(loaded, new, format, measured)
        made_up = [] if images else made_up_cases(loaded.spec, new / PROOF / "images")
        files = made_up or [Path(image) for image in images]
        origin = {
            "network": loaded.spec.network["_target_"],
            "weights_sha256": sha256(source / WEIGHTS),
        }
        kept = new / PROOF if made_up else None
        return _prove(loaded, new, format, files, kept, origin, progress, bool(caption))


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
        logits = _difference(folder, inputs, Path(scratch), traced=trust)
    progress("Running the export", 2, 2)
    check(folder, rows, logits)
    return {
        "format": certificate["format"],
        **agreement(rows),
        "largest_logit_difference": logits[0],
        "cases": rows,
        "files": len(certificate["files"]),
    }


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
    origin: Mapping[str, Any], progress: Progress, drawn: bool,
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
        logits = _difference(folder, inputs, aside, traced=True)
        if drawn:
            seen = [row["organ_voxels"] for row in rows]
            pairs = list(zip(linked, wanted, strict=True))
            put_preview(pairs, seen, loaded.spec.labels, folder / "docs")
        if kind == "bundle":
            list_large(folder)
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


def _difference(folder: Path, inputs: Path, scratch: Path, *, traced: bool) -> tuple[float, float]:
    """Largest difference of a logit, and the largest logit."""
    wanted = read_logits(inputs)
    found = logits_of_export(folder, inputs, scratch / "logits.npy", traced=traced)
    return float(np.abs(wanted - found).max()), float(np.abs(wanted).max())
