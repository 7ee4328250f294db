"""From a volume as the file has it to numbers in [0, 1] and class indices, in RAS orientation.

MONAI's transforms do the work; they are imported when a volume is prepared, not before, so that
settings can be read without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError, UsageError
from medseg.loading.sky import normalise
from medseg.volumes import Volume, spacing_of
from medseg.volumes.exposure import level_of, noise_of

SAME_SPACING = 1e-4  # relative; below it a volume is not resampled
LARGEST_VALUE = 65535  # in a label file
RAS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True)
class Preprocessing:
    """What is done to every volume before its slices are cut; plain data.

    Attributes:
        spacing: Distance between voxel centres to resample to, in mm along the RAS axes
            (left-right, back-front, feet-head); ``None`` entries keep the file's, and ``None``
            as a whole resamples nothing.
        window: Lowest and highest intensity (HU for CT), clipped and scaled to [0, 1].
        percentiles: The same with percentiles of the volume's own nonzero voxels, for images
            without an absolute scale such as MRI.
        sky: The same for exposures of a telescope's camera, in standard deviations of the
            background noise above the sky level, and compressed
            (:func:`medseg.loading.sky.normalise`). Exactly one of the three is given.

    Raises:
        UsageError: If the numbers do not make sense.
    """

    spacing: tuple[float | None, float | None, float | None] | None = None
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None
    sky: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if [self.window, self.percentiles, self.sky].count(None) != 2:
            raise UsageError(
                "preprocessing: expected exactly one of window, percentiles and sky, "
                f"got window {self.window}, percentiles {self.percentiles} and sky {self.sky}"
            )
        for name in ("window", "percentiles", "sky"):
            object.__setattr__(self, name, _ordered_pair(name, getattr(self, name)))
        if self.percentiles and not (self.percentiles[0] >= 0 and self.percentiles[1] <= 100):
            raise UsageError(f"percentiles must lie in 0..100, got {self.percentiles}")
        object.__setattr__(self, "spacing", _three_spacings(self.spacing))

    def to_plain(self) -> dict[str, Any]:
        """As a dictionary for JSON; ``Preprocessing(**plain)`` reads it back."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def prepare_image(volume: Volume, preprocessing: Preprocessing) -> Volume:
    """Scale the intensities, turn the axes to RAS and resample linearly if asked to.

    Args:
        volume: As read from a file, all voxels finite.
        preprocessing: What to do.

    Returns:
        Array float32 in [0, 1], shape (X, Y, Z), with the affine of that grid. An image of one
        intensity throughout becomes zeros under percentiles.
    """
    if preprocessing.sky is not None:
        array = volume.array.astype(np.float32)
        level = level_of(array)
        array = normalise(array, level, noise_of(array, level), preprocessing.sky)
    else:
        array = scaled(volume.array, *limits_of(volume.array, preprocessing))
    return _onto_grid(Volume(array, volume.affine), preprocessing, "bilinear")


def limits_of(array: np.ndarray, preprocessing: Preprocessing) -> tuple[float, float]:
    """The intensities that become 0 and 1; both 0 if a volume has one intensity throughout."""
    return preprocessing.window or _percentiles(array, preprocessing.percentiles)


def scaled(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale ``low`` to 0 and ``high`` to 1 and clip, float32; zeros if the two are equal."""
    from monai.transforms import ScaleIntensityRange

    array = array.astype(np.float32)
    if low < high:
        return np.asarray(ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)(array))
    return np.zeros_like(array)


def wanted_spacing(affine: np.ndarray, preprocessing: Preprocessing) -> list[float] | None:
    """Spacing to resample a RAS grid to, in mm; ``None`` if it stays as it is."""
    own = spacing_of(affine)
    wanted = [length or own[axis] for axis, length in enumerate(preprocessing.spacing or own)]
    return None if np.allclose(wanted, own, rtol=SAME_SPACING) else wanted


def prepare_label(
    volume: Volume,
    preprocessing: Preprocessing,
    file_labels: Mapping[str, int],
    labels: Mapping[str, int],
    *,
    source: str | Path = "label map",
) -> Volume:
    """Turn a label file's values into class indices on the grid of the prepared image.

    Organs are matched by name: class k is the k-th organ of ``labels``; organs of the file that
    ``labels`` does not name become background, class 0.

    Args:
        volume: As read from the label file.
        preprocessing: The same as for the image; resampling takes the nearest voxel.
        file_labels: Organ → value in the file, all values that may occur.
        labels: Organ → anything, in the order of the classes.
        source: Names the file in errors.

    Returns:
        Class indices, uint8 (uint16 beyond 255 organs), shape (X, Y, Z).

    Raises:
        InputError: If a value is not in the map, or the map lacks an organ.
    """
    table = _class_table(file_labels, labels, source)
    classes = _look_up(volume.array, table, source)
    prepared = _onto_grid(Volume(classes, volume.affine), preprocessing, "nearest")
    return Volume(prepared.array.astype(class_dtype(len(labels)), copy=False), prepared.affine)


def class_dtype(organs: int) -> np.dtype:
    """The smallest unsigned type that holds the class indices of so many organs."""
    return np.dtype(np.uint8 if organs <= 255 else np.uint16)


def _ordered_pair(name: str, value: Sequence[float] | None) -> tuple[float, float] | None:
    if value is None:
        return None
    if len(value) != 2 or not float(value[0]) < float(value[1]):
        raise UsageError(f"{name} must be two numbers, the lower first, got {value}")
    return float(value[0]), float(value[1])


def _three_spacings(value: Sequence[float | None] | None) -> tuple[float | None, ...] | None:
    if value is None:
        return None
    spacing = tuple(None if length is None else float(length) for length in value)
    if len(spacing) != 3 or any(length is not None and length <= 0 for length in spacing):
        raise UsageError(f"spacing must be three lengths in mm (or none each), got {value}")
    return spacing


def _percentiles(array: np.ndarray, percentiles: tuple[float, float] | None) -> tuple[float, float]:
    voxels = array[array != 0].astype(np.float32)
    if percentiles is None or not voxels.size:
        return 0.0, 0.0
    low, high = np.percentile(voxels, percentiles, overwrite_input=True)
    return float(low), float(high)


def _onto_grid(volume: Volume, preprocessing: Preprocessing, mode: str) -> Volume:
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Orientation, Spacing

    array = np.asarray(volume.array)
    kind = array.dtype if array.dtype != np.uint16 else np.dtype(np.int32)  # torch lacks uint16
    tensor = torch.from_numpy(np.array(array, dtype=kind)[None])
    turned = Orientation(axcodes="RAS", labels=RAS_LABELS)(
        MetaTensor(tensor, affine=torch.as_tensor(volume.affine, dtype=torch.float64))
    )
    wanted = wanted_spacing(turned.affine.numpy(), preprocessing)
    if wanted is not None:
        resample = Spacing(wanted, mode=mode, padding_mode="border", dtype=np.float32)
        turned = resample(turned)
    return Volume(
        turned.numpy()[0].astype(array.dtype, copy=False), turned.affine.numpy().astype(float)
    )


def _class_table(
    file_labels: Mapping[str, int], labels: Mapping[str, int], source: str | Path
) -> np.ndarray:
    """Class of every value up to the largest, -1 where the map has none; shape (values,)."""
    missing = [organ for organ in labels if organ not in file_labels]
    if missing:
        raise InputError(source, f"labels for {list(labels)}", f"none named {', '.join(missing)}")
    table = np.full(max(file_labels.values(), default=0) + 1, -1, dtype=np.int32)
    table[0] = 0
    classes = {organ: index for index, organ in enumerate(labels, start=1)}
    for organ, value in file_labels.items():
        table[value] = classes.get(organ, 0)
    return table


def _look_up(array: np.ndarray, table: np.ndarray, source: str | Path) -> np.ndarray:
    outside = (array < 0) | (array >= len(table))
    if array.dtype.kind == "f":
        outside |= array != np.floor(array)
    if not outside.any():
        classes: np.ndarray = table[array.astype(np.int32, copy=False)]
        outside = classes < 0
    if outside.any():
        known = [0, *np.flatnonzero(table[1:] >= 0) + 1]
        found = ", ".join(f"{value:g}" for value in np.unique(array[outside])[:10])
        raise InputError(source, f"label values {[int(value) for value in known]}", found)
    return classes.astype(class_dtype(int(table.max())))
