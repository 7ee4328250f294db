"""Proof that an export gives what its model gives: run again in a process of its own, compared."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medseg.errors import ModelError
from medseg.files import read_json, sha256, write_json
from medseg.metrics import dsc
from medseg.volumes import read_volume

CERTIFICATE = "certificate.json"
LEAST_EQUAL = 0.9999  # share of voxels
LARGEST_LOGIT_DIFFERENCE = 1e-3  # relative to the largest logit
PACKAGES = ("torch", "monai", "numpy", "scipy", "nibabel", "onnxruntime")
LOGITS_OF_BUNDLE = """
import sys, numpy as np, torch
from pathlib import Path
from monai.bundle import ConfigParser
config = ConfigParser()
config.read_config("configs/inference.json")
network = config.get_parsed_content("network_def").eval()
network.load_state_dict(torch.load("models/model.pt", weights_only=True))
kept = np.load(sys.argv[1])
with torch.inference_mode():
    image = torch.from_numpy(kept["image"])
    logits = network(image).numpy()
    if sys.argv[3:] and Path("models/model.ts").is_file():  # the farther of both counts
        traced = torch.jit.load("models/model.ts", map_location="cpu")(image).numpy()
        off, of_traced = (abs(one - kept["logits"]) for one in (logits, traced))
        logits = np.where(of_traced <= off, logits, traced)  # of a NaN, too
np.save(sys.argv[2], logits)
"""
LOGITS_OF_NETWORK = """
import sys, numpy as np
from pathlib import Path
from run import load_network
np.save(sys.argv[2], load_network(Path("."))(np.load(sys.argv[1])["image"]))
"""


def is_bundle(folder: Path) -> bool:
    """Whether an export is a MONAI bundle."""
    return (folder / "configs" / "metadata.json").is_file()


def run_export(folder: Path, images: Path, output: Path) -> list[Path]:
    """Predict a folder of NIfTI images with an export, in a process of its own.

    Returns:
        The label maps, in the order of the images' names.

    Raises:
        ModelError: If it ends with an error, or leaves an image out.
    """
    names = sorted(path.name for path in images.glob("*.nii*"))
    if is_bundle(folder):
        command = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
        command += ["--images", f"$sorted(glob.glob({str(images / '*.nii*')!r}))"]
        command += ["--output_dir", str(output)]
        found = [output / f"{_stem(name)}_seg.nii.gz" for name in names]
    else:
        command = ["run.py", *(str(images / name) for name in names), "-o", str(output)]
        found = [output / f"{_stem(name)}.nii.gz" for name in names]
    _run(folder, command)
    for path in found:
        if not path.is_file():
            raise ModelError(f"{folder}: expected a label map {path.name}, got none")
    return found


def logits_of_export(folder: Path, inputs: Path, output: Path, *, traced: bool) -> np.ndarray:
    """What an export's network gives for the inputs kept at its making, in a process of its own.

    Args:
        folder: The export.
        inputs: Images, and the logits of the model.
        output: File for those of the export.
        traced: Whether a bundle's TorchScript is run as well; it can hold code.
    """
    script = LOGITS_OF_BUNDLE if is_bundle(folder) else LOGITS_OF_NETWORK
    _run(folder, ["-c", script, str(inputs), str(output), *(["traced"] if traced else [])])
    return np.asarray(np.load(output, allow_pickle=False))


def compare_cases(
    wanted: Sequence[Path], got: Sequence[Path], labels: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Hold label maps against each other, one row per case.

    Args:
        wanted: Label maps of the model.
        got: Those of the export, in the same order.
        labels: Organ → value.
    """
    rows = []
    for one, other in zip(wanted, got, strict=True):
        ours, theirs = read_volume(one, "label"), read_volume(other, "label")
        if ours.array.shape != theirs.array.shape or not np.allclose(
            ours.affine, theirs.affine, atol=1e-4
        ):
            raise ModelError(f"{other}: expected the grid of {one.name}, got another")
        organs = {organ: _dsc(ours.array, theirs.array, value) for organ, value in labels.items()}
        rows.append({
            "case": _stem(one.name),
            "shape": list(ours.array.shape),
            "orientation": "".join(nib.aff2axcodes(ours.affine)),
            "organ_voxels": int(np.count_nonzero(ours.array)),
            "different_voxels": int(np.count_nonzero(ours.array != theirs.array)),
            "voxels": int(ours.array.size),
            "dsc": organs,
        })  # fmt: skip
    return rows


def certify(
    folder: Path, kind: str, rows: Sequence[Mapping[str, Any]], logits: tuple[float, float],
    model: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Write the certificate of an export into its folder, and refuse one that does not hold.

    Args:
        folder: The export.
        kind: Its format.
        rows: From :func:`compare_cases`.
        logits: Largest difference of a logit, and the largest logit.
        model: What says which model it came from.

    Raises:
        ModelError: If voxels or logits differ too much; nothing is written then.
    """
    check(folder, rows, logits)
    certificate = {
        "format": kind,
        "model": dict(model),
        "versions": _versions(),
        **agreement(rows),
        "largest_logit_difference": logits[0],
        "largest_logit": logits[1],
        "cases": list(rows),
        "files": {name: sha256(folder / name) for name in files_of_export(folder)},
    }
    write_json(folder / CERTIFICATE, certificate)
    return certificate


def check(folder: Path, rows: Sequence[Mapping[str, Any]], logits: tuple[float, float]) -> None:
    """Refuse an export that differs from its model.

    Raises:
        ModelError: If so.
    """
    if equal_share(rows) < LEAST_EQUAL:
        worst = max(rows, key=lambda row: row["different_voxels"] / row["voxels"])
        raise ModelError(
            f"{folder}: expected {LEAST_EQUAL:.2%} of voxels as the model has them, got "
            f"{equal_share(rows):.4%}; {worst['case']} differs most, "
            f"in {worst['different_voxels']} voxels"
        )
    if not logits[0] <= LARGEST_LOGIT_DIFFERENCE * max(logits[1], 1.0):
        raise ModelError(
            f"{folder}: expected the model's logits (up to {logits[1]:.3g}), "
            f"got ones that differ by {logits[0]:.3g}"
        )


def check_files(folder: Path) -> dict[str, Any]:
    """The certificate of an export whose files are as they were.

    Raises:
        ModelError: If there is none, or a file is missing or was changed.
    """
    if not (folder / CERTIFICATE).is_file():
        raise ModelError(f"{folder}: expected an export with {CERTIFICATE}, got none")
    certificate = read_json(folder / CERTIFICATE)
    if not isinstance(certificate, dict) or not isinstance(certificate.get("files"), dict):
        raise ModelError(f"{folder / CERTIFICATE}: expected a certificate, got something else")
    for name, digest in certificate["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{folder / CERTIFICATE}: names {name!r}, outside the export")
        if not path.is_file():
            raise ModelError(f"{path}: expected a file of the export, got no such file")
        if sha256(path) != digest:
            raise ModelError(f"{path}: expected the file as exported, got another content")
    return certificate


def files_of_export(folder: Path) -> list[str]:
    """Names of all files of an export but the certificate, relative to its folder."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if name != CERTIFICATE and "__pycache__" not in name)


def equal_share(rows: Sequence[Mapping[str, Any]]) -> float:
    """Share of equal voxels over all cases."""
    voxels = sum(int(row["voxels"]) for row in rows)
    return 1 - sum(int(row["different_voxels"]) for row in rows) / voxels


def agreement(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How far an export agrees over all cases: voxels, organ voxels and the worst organ's DSC.

    The DSC is that of one organ in one case between the model's label map and the export's,
    ``None`` where no case shows an organ.
    """
    scores = [score for row in rows for score in row.get("dsc", {}).values() if score is not None]
    return {
        "equal_voxels": equal_share(rows),
        "organ_voxels": sum(int(row["organ_voxels"]) for row in rows),
        "lowest_organ_dsc": min(scores, default=None),
    }


def _run(folder: Path, arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line] or [""]
        raise ModelError(f"{folder}: expected the export to run, got: {lines[0].strip()[:300]}")


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0], "medseg": version("medseg")}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return found


def _dsc(ours: np.ndarray, theirs: np.ndarray, value: int) -> float | None:
    pair = ours == value, theirs == value
    return float(dsc(*pair)) if pair[0].any() or pair[1].any() else None


def _stem(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".nii")


def read_logits(path: Path) -> np.ndarray:
    """The model's own logits, kept in an export."""
    with np.load(path, allow_pickle=False) as kept:
        return np.asarray(kept["logits"])
