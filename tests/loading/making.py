"""Small cases on disk for the tests of loading."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.case import Case
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.store import StoredCase, open_store

LABELS = {"liver": 1, "spleen": 2}
WINDOW = Preprocessing(window=(0.0, 100.0))


def write_case(
    folder: Path,
    case_id: str = "one",
    *,
    image: np.ndarray | None = None,
    label: np.ndarray | None = None,
    affine: np.ndarray | None = None,
) -> Case:
    """Write an image with a label map, random if not given, and return its case."""
    rng = np.random.default_rng(sum(case_id.encode()))
    image = rng.uniform(0, 100, (6, 5, 4)).astype(np.float32) if image is None else image
    label = rng.integers(0, 3, image.shape).astype(np.uint8) if label is None else label
    affine = np.eye(4) if affine is None else affine
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{case_id}.nii", folder / f"{case_id}_label.nii"
    nib.save(nib.Nifti1Image(image, affine), paths[0])
    nib.save(nib.Nifti1Image(label, affine), paths[1])
    return Case(case_id, *paths, LABELS)


def store_case(
    folder: Path, image: np.ndarray, label: np.ndarray, case_id: str = "one"
) -> StoredCase:
    """Store one case whose image is given in [0, 1], shape (X, Y, Z)."""
    case = write_case(folder, case_id, image=image.astype(np.float32), label=label)
    preprocessing = Preprocessing(window=(0.0, 1.0))
    (stored,) = open_store([case], preprocessing, LABELS, root=folder / "store")
    return stored
