"""Volumes of one case for the viewer: cropped around the organs, in 8 bits, as gzipped NIfTI."""

import base64
import gzip
from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from medseg.report.anatomy import to_grey
from medseg.report.scene import Scene

MARGIN_MM = 20.0  # kept around the organs
MAX_VOXELS = 24_000_000  # more is slow to show and takes a phone's memory
COARSEST = 8  # a viewer of every ninth voxel would show nothing
LABEL_INTENT = 1002  # NIfTI's code for label maps; the viewer outlines these


@dataclass(frozen=True)
class Volumes:
    """What the viewer of one case is made of.

    Attributes:
        image: Grey levels 0 to 255, uint8, gzipped NIfTI as base64; empty without an image.
        truth: Classes of the reference, the same way; class k is the k-th organ.
        prediction: Classes of the prediction.
        shape: Voxels along X, Y and Z.
        spacing: Their spacing in mm.
        start: Where to look first, in shares of X, Y and Z: the largest disagreement.
        window: Intensities of grey 0 and 255.
        note: What was cut and how much coarser it is than the file.
    """

    image: str
    truth: str
    prediction: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    start: tuple[float, float, float]
    window: tuple[float, float]
    note: str

    @property
    def size(self) -> int:
        """Characters that it takes in a page."""
        return len(self.image) + len(self.truth) + len(self.prediction)


def embed(scene: Scene, limit: int) -> Volumes | None:
    """Prepare the volumes of a case, coarser by factors of two until they fit.

    The finest axes are coarsened first: images by the mean of neighbours, labels by taking every
    second voxel. Nothing of the file's header is kept but the spacing.

    Args:
        scene: The case.
        limit: Characters they may take in the page.

    Returns:
        The volumes, or ``None`` if not even a far coarser version fits.
    """
    area = _around_organs(scene)
    image = None if scene.image is None else to_grey(scene.image[area], scene.window)
    parts = (image, scene.classes[area], scene.predicted[area])
    factors = np.ones(3, int)
    while True:
        shape = np.array(parts[1].shape)
        if shape.prod() <= MAX_VOXELS:
            volumes = _volumes(scene, parts, factors)
            if volumes.size <= limit:
                return volumes
        spacing = np.where(shape > 1, np.array(scene.truth.spacing) * factors, np.inf)
        if not np.isfinite(spacing).any() or factors.max() >= COARSEST:
            return None
        for axis in np.flatnonzero(spacing <= 1.5 * spacing.min()).tolist():
            image, truth, prediction = parts
            image = None if image is None else _halve(image, axis, _mean)
            parts = (image, _halve(truth, axis, _first), _halve(prediction, axis, _first))
            factors[axis] *= 2


def _volumes(
    scene: Scene, parts: tuple[np.ndarray | None, np.ndarray, np.ndarray], factors: np.ndarray
) -> Volumes:
    image, truth, prediction = parts
    spacing = np.array(scene.truth.spacing) * factors
    differ = np.argwhere(truth != prediction)
    if not differ.size:
        differ = np.argwhere(truth > 0)
    shape = np.array(truth.shape)
    middle = _busiest(differ) if differ.size else shape // 2
    start = (middle + 0.5) / shape
    return Volumes(
        "" if image is None else _nifti(image, spacing),
        _nifti(truth, spacing, LABEL_INTENT),
        _nifti(prediction, spacing),
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        start=(float(start[0]), float(start[1]), float(start[2])),
        window=scene.window,
        note=_note(scene, factors, spacing),
    )


def _busiest(points: np.ndarray) -> np.ndarray:
    """Of voxel indices (N, 3): the middle of those in the axial slice that has most of them."""
    axial = np.bincount(points[:, 2]).argmax()
    here = points[points[:, 2] == axial]
    nearest = np.argmin(((here - np.median(here, axis=0)) ** 2).sum(axis=1))
    found: np.ndarray = here[nearest]
    return found


def _around_organs(scene: Scene) -> tuple[slice, slice, slice]:
    """The box that holds every organ of truth and prediction, and a margin around it."""
    found = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        present = (scene.classes > 0).any(axis=others) | (scene.predicted > 0).any(axis=others)
        indices = np.flatnonzero(present)
        first, last = (indices[0], indices[-1]) if indices.size else (0, present.size - 1)
        margin = round(MARGIN_MM / scene.truth.spacing[axis])
        found.append(slice(max(0, int(first) - margin), int(last) + 1 + margin))
    return found[0], found[1], found[2]


def _halve(
    part: np.ndarray, axis: int, pick: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Make one voxel of two neighbours along an axis; an odd one at the end is left out."""
    even = np.moveaxis(part, axis, 0)[: part.shape[axis] // 2 * 2]
    return np.moveaxis(pick(even[::2], even[1::2]), 0, axis)


def _mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    grey: np.ndarray = ((one.astype(np.uint16) + other) // 2).astype(np.uint8)
    return grey


def _first(one: np.ndarray, _: np.ndarray) -> np.ndarray:
    return one


def _nifti(array: np.ndarray, spacing: np.ndarray, intent: int = 0) -> str:
    volume = nib.Nifti1Image(np.ascontiguousarray(array), np.diag([*spacing, 1.0]))
    volume.header.set_xyzt_units("mm")
    if intent:
        volume.header["intent_code"] = intent
    return base64.b64encode(gzip.compress(volume.to_bytes(), 6, mtime=0)).decode("ascii")


def _note(scene: Scene, factors: np.ndarray, spacing: np.ndarray) -> str:
    voxel = " × ".join(f"{step:.3g}" for step in spacing)
    coarser = "voxels of the file"
    if factors.max() > 1:
        coarser = f"coarser than the file by {' × '.join(map(str, factors))} to keep the page small"
    grey = "no image" if scene.image is None else f"image in 256 grey levels, {scene.window_note}"
    return f"Cropped around the organs; {voxel} mm, {coarser}; {grey}"
