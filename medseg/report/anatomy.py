"""Volumes made ready to look at: orientation, grey window, and which slices to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medseg.errors import InputError
from medseg.volumes import Volume

SOFT_TISSUE_HU = (-160.0, 240.0)  # window 400 about level 40, the usual one for the abdomen
AIR_HU, BONE_HU = -500.0, 200.0
PERCENTILES = (0.5, 99.5)
SAMPLE_VOXELS = 2_000_000


@dataclass(frozen=True)
class Oriented:
    """A volume in RAS order, with the way back to the file's own axes.

    Attributes:
        array: Shape (X, Y, Z); indices grow to the patient's right, to the front, to the head.
        affine: Index to millimetres in RAS world space.
        file_axis: The file's axis (0, 1 or 2) that runs from feet to head.
        file_reversed: Whether that axis runs from head to feet.
    """

    array: np.ndarray
    affine: np.ndarray
    file_axis: int
    file_reversed: bool

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along X, Y and Z, in mm."""
        return Volume(self.array, self.affine).spacing

    def position_mm(self, slice_index: int) -> float:
        """Height of the centre of an axial slice in world space, in mm."""
        x, y, _ = self.array.shape
        return float((self.affine @ [(x - 1) / 2, (y - 1) / 2, slice_index, 1])[2])

    def file_index(self, slice_index: int) -> int:
        """The same slice's index along ``file_axis`` in the file."""
        last = self.array.shape[2] - 1
        return last - slice_index if self.file_reversed else slice_index


def to_ras(volume: Volume) -> Oriented:
    """Turn a volume to the closest RAS orientation by permuting and flipping axes alone."""
    orientation = io_orientation(volume.affine)
    file_axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    return Oriented(
        apply_orientation(volume.array, orientation),
        volume.affine @ inv_ornt_aff(orientation, volume.array.shape),
        file_axis,
        file_reversed=bool(orientation[file_axis, 1] < 0),
    )


def radiological(axial: np.ndarray) -> np.ndarray:
    """An axial slice (X, Y) in RAS order as a picture (row, column) seen from the feet.

    The patient's right is on the left of the picture and the front is at the top.
    """
    picture: np.ndarray = axial[::-1, ::-1].T
    return picture


def class_map(array: np.ndarray, values: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Label values as classes: the k-th organ of ``values`` becomes k, all else 0; uint8/16.

    Where organs share voxels (a region and its parts), the one of fewest values is shown.
    """
    classes = np.zeros(array.shape, np.min_scalar_type(len(values)))
    numbered = [(len(own), index, own) for index, own in enumerate(values.values(), start=1)]
    for _, index, own in sorted(numbered, key=lambda entry: (-entry[0], entry[1])):
        if own:
            classes[organ_mask(array, own)] = index
    return classes


def organ_mask(array: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Where the label map holds one of ``values``; bool, the array's shape."""
    if len(values) == 1:
        mask: np.ndarray = array == values[0]
        return mask
    return np.isin(array, values)


def grey_window(array: np.ndarray) -> tuple[tuple[float, float], str]:
    """The intensities shown as black and white, and a word on how they were chosen.

    Volumes that hold both air and bone on the Hounsfield scale get a soft tissue window, all
    others percentiles of their finite voxels.
    """
    sample = array.reshape(-1)[:: max(1, array.size // SAMPLE_VOXELS)]
    finite = sample[np.isfinite(sample)]
    if finite.size == 0:
        return (0.0, 1.0), "no finite intensity"
    if finite.min() <= AIR_HU and finite.max() >= BONE_HU:
        low, high = SOFT_TISSUE_HU
        return SOFT_TISSUE_HU, f"soft tissue window {low:.0f} to {high:.0f} HU".replace("-", "−")
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    return (low, high), f"intensities {low:.4g} to {high:.4g} (0.5 to 99.5 %)"


def to_grey(axial: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Intensities as grey levels 0 to 255, uint8; what is not finite becomes black."""
    low, high = window
    scaled = (np.asarray(axial, np.float32) - low) / max(high - low, 1e-12)
    grey: np.ndarray = np.nan_to_num(255 * scaled.clip(0, 1)).round().astype(np.uint8)
    return grey


def choose_slices(truth: np.ndarray, prediction: np.ndarray) -> dict[int, list[str]]:
    """Axial slices worth looking at, lowest first, each with the reasons for showing it.

    Args:
        truth: Classes of the reference, shape (X, Y, Z), RAS.
        prediction: Classes of the prediction, same shape.

    Returns:
        Slice index → reasons. One is the slice with most organs of the truth (of those, the one
        with the largest area of the organ that is smallest in it), the other the slice in which
        most voxels differ; it may be the same slice.
    """
    depth = truth.shape[2]
    organs = range(1, int(max(truth.max(initial=0), prediction.max(initial=0))) + 1)
    areas = np.array([(truth == organ).sum(axis=(0, 1)) for organ in organs]).reshape(-1, depth)
    if not areas.any():
        areas = np.array([(prediction == k).sum(axis=(0, 1)) for k in organs]).reshape(-1, depth)
    present = (areas > 0).sum(axis=0)
    smallest = np.where(areas > 0, areas, 2**62).min(axis=0, initial=2**62)
    most = max(range(depth), key=lambda k: (present[k], smallest[k] if present[k] else 0))
    differing = (truth != prediction).sum(axis=(0, 1))
    reasons: dict[int, list[str]] = {most: ["most organs"]}
    if differing.any():
        reasons.setdefault(int(differing.argmax()), []).append("largest disagreement")
    return dict(sorted(reasons.items()))


def check_same_grid(one: np.ndarray, other: np.ndarray, names: tuple[str, str], path: str) -> None:
    """Refuse to draw one volume over another of a different shape.

    Raises:
        InputError: Naming both shapes.
    """
    if one.shape != other.shape:
        raise InputError(path, f"a {names[1]} on the grid {one.shape} of the {names[0]}",
                         f"shape {other.shape}")  # fmt: skip
