"""Images and label maps, from any format we read, as the NIfTI that a browser can show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import find_objects

from medseg.case import Source
from medseg.errors import InputError
from medseg.metrics.case import LabelValue, values_of
from medseg.report.anatomy import class_map, grey_window
from medseg.report.colours import organ_colours
from medseg.volumes import Volume, read_volume

SHOWN_AS_THEY_ARE = ("uint8", "int16", "uint16", "float32")
MOST_VALUES = 1000  # of a label map; a file with more is none


@dataclass(frozen=True)
class Layer:
    """What is laid over one another.

    Attributes:
        name: As people see it.
        nifti: The volume, not compressed; in label maps class k is the k-th organ.
        organs: Of a label map, organ → colour as ``#rrggbb``; empty for an image.
        window: Of an image, the intensities shown as black and white.
        centres: Where to look, in mm: for every organ a voxel in its middle, or ``None`` if it is
            not there; for an image the middle of the volume.
    """

    name: str
    nifti: bytes
    organs: Mapping[str, str] = field(default_factory=dict)
    window: tuple[float, float] = (0.0, 1.0)
    centres: Sequence[tuple[float, ...] | None] = ()


def image_layer(source: Source, name: str, *, series_uid: str | None = None) -> Layer:
    """Read an image, or one DICOM series of several.

    Raises:
        InputError: If it cannot be read.
    """
    volume = read_volume(source, series_uid=series_uid)
    array = volume.array
    _check_kind(source, array)
    window, _ = grey_window(array)
    kind = array.dtype.name if array.dtype.name in SHOWN_AS_THEY_ARE else "float32"
    middle = _in_mm(volume, np.array(array.shape) // 2)
    nifti = _nifti(array.astype(kind, copy=False), volume)
    return Layer(name, nifti, window=window, centres=[middle])


def label_layer(source: Source, name: str, labels: Mapping[str, LabelValue]) -> Layer:
    """Read a label map; values that ``labels`` does not name are shown by their number.

    Raises:
        InputError: If it cannot be read, or is no label map.
    """
    volume = read_volume(source, "label")
    _check_kind(source, volume.array)
    found = np.unique(volume.array)
    if found.size > MOST_VALUES or not np.isfinite(found).all() or (found % 1).any():
        got = f"{found.size} values from {found.min():g} to {found.max():g}"
        raise InputError(_first(source), "a label map of whole numbers", got)
    values = {organ: tuple(values_of(value)) for organ, value in labels.items()}
    named = {value for own in values.values() for value in own}
    others = [int(value) for value in found if value and int(value) not in named]
    values |= {f"value {value}": (value,) for value in others}
    classes = class_map(volume.array, values)
    centres = _centres(classes, volume, len(values))
    return Layer(name, _nifti(classes, volume), organs=organ_colours(values), centres=centres)


def _check_kind(source: Source, array: np.ndarray) -> None:
    if array.dtype.kind not in "biuf":
        raise InputError(_first(source), "one real number per voxel", f"type {array.dtype}")


def _centres(classes: np.ndarray, volume: Volume, number: int) -> list[tuple[float, ...] | None]:
    """For every class the voxel nearest to the mean of its voxels, in mm."""
    boxes = find_objects(classes, number)
    found: list[tuple[float, ...] | None] = []
    for k, box in enumerate(boxes, 1):
        if box is None:
            found.append(None)
            continue
        inside = np.argwhere(classes[box] == k)
        nearest = inside[((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        found.append(_in_mm(volume, nearest + [part.start for part in box]))
    return found


def _in_mm(volume: Volume, index: np.ndarray) -> tuple[float, ...]:
    return tuple(float(at) for at in (volume.affine @ [*index, 1])[:3])


def _nifti(array: np.ndarray, volume: Volume) -> bytes:
    image = nib.Nifti1Image(array, volume.affine)
    image.header.set_xyzt_units("mm")
    content: bytes = image.to_bytes()
    return content


def _first(source: Source) -> Path:
    return source if isinstance(source, Path) else source[0]
