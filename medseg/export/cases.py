"""Volumes made up to prove an export on: ten grids, each with content a network reacts to."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy.ndimage import gaussian_filter

from medseg.datasets.phantom import make_excerpt
from medseg.loading.geometry import SliceGeometry
from medseg.model import ModelSpec

Grid = tuple[str, tuple[int, int, int], tuple[float, float, float]]
GRIDS: tuple[Grid, ...] = (  # orientation, shape and spacing in mm along the file's axes
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
WIDE_GRIDS: tuple[Grid, ...] = (  # whole axial slices of a body
    ("RAS", (100, 84, 20), (4.0, 4.0, 5.0)),
    ("LPS", (120, 96, 18), (3.3, 3.3, 6.0)),
    ("LAS", (88, 88, 22), (4.5, 4.5, 4.0)),
    ("PIR", (80, 20, 104), (4.2, 5.0, 3.8)),
    ("SAL", (16, 92, 110), (7.0, 3.8, 3.8)),
    ("ASR", (96, 24, 96), (4.0, 4.0, 4.0)),
    ("IPL", (18, 76, 90), (6.0, 4.8, 4.8)),
    ("RSA", (128, 16, 112), (3.1, 8.0, 3.1)),
    ("RPI", (104, 90, 24), (4.1, 4.1, 3.0)),
    ("LIP", (112, 20, 80), (3.6, 5.5, 4.4)),
)
SEED = 11  # of the phantom's bodies
RAS = axcodes2ornt("RAS")


def made_up_cases(spec: ModelSpec, folder: Path) -> list[Path]:
    """Write one NIfTI image per grid and return the files.

    Models of CT get bodies of the phantom, in whole slices or, if they see patches, parts of
    them; others smooth bodies of several intensities with some noise. Some grids stand askew by
    a few degrees, as scanners have them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index, (code, shape, spacing) in enumerate(grids_of(spec)):
        array = (_blobs if spec.preprocessing.window is None else _body)(
            index, shape, spacing, code
        )
        path = folder / f"grid_{index:02d}_{code}.nii.gz"
        nib.save(nib.Nifti1Image(array, _affine(code, shape, spacing, askew=index % 3)), path)
        files.append(path)
    return files


def grids_of(spec: ModelSpec) -> tuple[Grid, ...]:
    """The ten grids for a model: of whole slices if it knows a body by them, else smaller ones."""
    slices = isinstance(spec.geometry, SliceGeometry)
    return WIDE_GRIDS if slices and spec.preprocessing.window is not None else GRIDS


def _body(index: int, shape: tuple[int, ...], spacing: tuple[float, ...], code: str) -> np.ndarray:
    """HU of a phantom's body in the file's axes."""
    image, _ = make_excerpt(SEED, index, shape=_to_ras(code, shape), spacing=_to_ras(code, spacing))
    return np.asarray(apply_orientation(image.array, ornt_transform(RAS, axcodes2ornt(code))))


def _blobs(
    index: int, shape: tuple[int, ...], spacing: tuple[float, ...], _code: str
) -> np.ndarray:
    rng = np.random.default_rng(index)
    coarse = gaussian_filter(rng.standard_normal(shape), [6 / mm for mm in spacing])
    coarse = (coarse - coarse.min()) / np.ptp(coarse)
    steps = np.floor(coarse * 6) / 5 + 0.02 * rng.standard_normal(shape)
    return np.asarray(np.rint(1000 * steps).astype(np.int16))


def _to_ras(code: str, along: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Numbers of the file's axes in the order right, front, head."""
    order = axcodes2ornt(code)[:, 0].astype(int).tolist()
    x, y, z = (along[order.index(axis)] for axis in range(3))
    return x, y, z


def _affine(
    code: str, shape: tuple[int, ...], spacing: tuple[float, ...], *, askew: int
) -> np.ndarray:
    angle = np.deg2rad(4.0 * askew)
    turn = np.array([
        [np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1],
    ])  # fmt: skip
    ras = np.eye(4)
    ras[:3, :3] = turn @ np.diag(_to_ras(code, spacing))
    ras[:3, 3] = [-30.0, 12.5, 80.0]
    # voxel of the file -> voxel of the RAS grid -> millimetres
    return np.asarray(ras @ np.linalg.inv(inv_ornt_aff(axcodes2ornt(code), shape)))
