"""Volumes made up to prove an export on: ten grids, each with content a network reacts to."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scipy.ndimage import gaussian_filter

from medseg.model import ModelSpec

GRIDS = (  # orientation, shape and spacing in mm along the file's axes
    ("RAS", (48, 56, 24), (1.5, 1.5, 3.0)),
    ("LPS", (56, 48, 20), (1.5, 1.5, 3.0)),
    ("LAS", (40, 44, 36), (2.0, 2.0, 2.0)),
    ("PIR", (36, 24, 52), (2.0, 3.0, 1.0)),
    ("SAL", (18, 60, 41), (4.0, 1.0, 1.5)),
    ("ASR", (45, 30, 33), (1.0, 2.5, 2.0)),
    ("IPL", (22, 39, 47), (2.5, 1.2, 1.2)),
    ("RSA", (64, 16, 40), (0.9, 5.0, 0.9)),
    ("RPI", (31, 37, 29), (2.2, 2.2, 2.2)),
    ("LIP", (50, 21, 50), (1.1, 3.3, 1.1)),
)


def made_up_cases(spec: ModelSpec, folder: Path) -> list[Path]:
    """Write one NIfTI image per grid and return the files.

    Smooth bodies of several intensities with some noise, spread over the model's window; grids
    stand askew by a few degrees, as scanners have them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    low, high = spec.preprocessing.window or (0.0, 1000.0)
    files = []
    for index, (code, shape, spacing) in enumerate(GRIDS):
        rng = np.random.default_rng(index)
        coarse = gaussian_filter(rng.standard_normal(shape), [6 / mm for mm in spacing])
        coarse = (coarse - coarse.min()) / np.ptp(coarse)
        steps = np.floor(coarse * 6) / 5 + 0.02 * rng.standard_normal(shape)
        array = np.rint(low + (high - low) * steps).astype(np.int16)
        path = folder / f"grid_{index:02d}_{code}.nii.gz"
        nib.save(nib.Nifti1Image(array, _affine(code, shape, spacing, askew=index % 3)), path)
        files.append(path)
    return files


def _affine(
    code: str, shape: tuple[int, ...], spacing: tuple[float, ...], *, askew: int
) -> np.ndarray:
    orientation = axcodes2ornt(code)
    order = orientation[:, 0].astype(int)
    ras_shape, ras_spacing = np.empty(3, int), np.empty(3)
    ras_shape[order], ras_spacing[order] = shape, spacing
    angle = np.deg2rad(4.0 * askew)
    turn = np.array([
        [np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1],
    ])  # fmt: skip
    ras = np.eye(4)
    ras[:3, :3] = turn @ np.diag(ras_spacing)
    ras[:3, 3] = [-30.0, 12.5, 80.0]
    # voxel of the file -> voxel of the RAS grid -> millimetres
    return np.asarray(ras @ np.linalg.inv(inv_ornt_aff(orientation, shape)))
