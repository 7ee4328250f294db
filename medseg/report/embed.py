"""Volumes of one case for the viewer: cropped around the organs, in 8 bits, as gzipped NIfTI."""

import base64
import gzip
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from medseg.report.anatomy import to_grey
from medseg.report.scene import Scene

MARGIN_MM = 20.0  # kept around the organs
MAX_VOXELS = 24_000_000  # more is slow to show and takes a phone's memory
VOXELS_PER_BYTE = 4  # of the limit; noise never compresses so well, so it need not be tried
GROWTH, STEPS = 1.2, 14  # voxels up to about ten times as large; coarser ones would show nothing
LABEL_INTENT = 1002  # NIfTI's code for label maps; the viewer outlines these


Parts = tuple[np.ndarray | None, np.ndarray, np.ndarray]


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
    """Prepare the volumes of a case, coarser step by step until they fit.

    Voxels grow towards cubes: the finest axes are coarsened first, by whole factors; an image by
    the mean of its voxels, labels by the voxel in the middle. Nothing of the file's header is
    kept but the spacing.

    Args:
        scene: The case.
        limit: Characters they may take in the page.

    Returns:
        The volumes, or ``None`` if not even a far coarser version fits.
    """
    area = _around_organs(scene)
    image = None if scene.image is None else to_grey(scene.image[area], scene.window)
    parts = (image, scene.classes[area], scene.predicted[area])
    spacing, shape = np.array(scene.truth.spacing), np.array(parts[1].shape)
    finest = spacing[shape > 1].min(initial=float(spacing.max()))
    tried: set[tuple[int, ...]] = set()
    for step in range(STEPS):
        factors = np.clip(np.round(finest * GROWTH**step / spacing), 1, shape).astype(int)
        known = tuple(factors.tolist())
        voxels = (shape // factors).prod()
        if known in tried or voxels > min(MAX_VOXELS, VOXELS_PER_BYTE * limit):
            continue
        tried.add(known)
        volumes = _volumes(scene, _coarser(parts, factors), factors)
        if volumes.size <= limit:
            return volumes
    return None


def _volumes(scene: Scene, parts: Parts, factors: np.ndarray) -> Volumes:
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


def _coarser(parts: Parts, factors: np.ndarray) -> Parts:
    """Image, truth and prediction with one voxel for each block; what is left over goes."""
    if factors.max() == 1:
        return parts
    image, truth, prediction = parts
    whole = tuple(slice(0, size // by * by) for size, by in zip(truth.shape, factors, strict=True))
    middle = tuple(slice(by // 2, cut.stop, by) for cut, by in zip(whole, factors, strict=True))
    if image is not None:
        image = image[whole]
        for axis, by in enumerate(factors.tolist()):
            blocks = np.moveaxis(image, axis, -1)
            blocks = blocks.reshape(*blocks.shape[:-1], -1, by)
            image = np.moveaxis(blocks.mean(axis=-1, dtype=np.float32), -1, axis)
        image = np.rint(image).astype(np.uint8)
    return image, truth[middle], prediction[middle]


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
