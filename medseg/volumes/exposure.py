"""Exposures of a telescope's camera: an image, its cosmic rays, and what is to be left out.

Two layouts are read:

* an array file ``.npy`` of shape (H, W), (2, H, W) or (3, H, W): image, mask of cosmic rays,
  pixels to ignore. A ``sky.npy`` beside it holds one sky level per array file of the folder, in
  the sorted order of their names; without it, the sky is the image's median. This is the form of
  deepCR's training sets (Zhang and Bloom, ApJ 889 (2020) 24);
* a FITS image with, perhaps, a map of the same shape whose values say what a pixel is: one value
  means cosmic ray, 0 means good, and every other value is a pixel to ignore.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from medseg.case import Case, Source
from medseg.errors import InputError
from medseg.volumes.read import read_volume, suffix_of

SKY = "sky.npy"
GAUSSIAN_OVER_MAD = 1.4826  # standard deviation over median absolute deviation
SAMPLE = 1 << 20  # pixels that sky and noise are measured on; more would change nothing


@dataclass(frozen=True, eq=False)
class Exposure:
    """One exposure, or a piece of one.

    Attributes:
        image: Float32, shape (H, W), finite; any unit that is proportional to light.
        mask: True where a cosmic ray has hit, bool (H, W); ``None`` where nobody has said.
        ignore: True for pixels that say nothing, such as saturated or dead ones, bool (H, W).
            They take no part in training or scoring, whatever the mask says there.
        sky: Level of the empty sky, in the image's unit.
    """

    image: np.ndarray
    mask: np.ndarray | None
    ignore: np.ndarray
    sky: float

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the empty sky, from the median absolute deviation (MAD)."""
        return noise_of(self.image[~self.ignore], self.sky)


def read_exposure(source: Source, mask: Source | None = None, *, code: int = 1) -> Exposure:
    """Read one exposure in either layout.

    Args:
        source: The image, or the array file that holds image and mask.
        mask: A FITS map of what each pixel is. An array file brings its own.
        code: The value of ``mask`` that means cosmic ray.

    Returns:
        The exposure. Pixels that are NaN or infinite are ignored and hold the sky level.

    Raises:
        InputError: If a file cannot be read or the shapes do not fit.
    """
    path = source[0] if isinstance(source, tuple) else source
    if suffix_of(path) == ".npy":
        image, found, ignore = _read_planes(path)
        sky = _sky_beside(path)
    else:
        image, sky = _one_slice(path), None
        found, ignore = _read_map(mask, image.shape, code)
    image = image.astype(np.float32)
    broken = ~np.isfinite(image)
    ignore = ignore | broken
    good = image[~ignore]
    if not good.size:
        raise InputError(path, "at least one good pixel", "none")
    level = level_of(good) if sky is None else sky
    return Exposure(np.where(broken, np.float32(level), image), found, ignore, level)


def exposure_of(case: Case) -> Exposure:
    """Read the exposure of a case; its one label says which value means cosmic ray.

    Raises:
        InputError: If a file cannot be read or the shapes do not fit.
    """
    code = next(iter(case.labels.values()), 1)
    return read_exposure(case.image, case.label, code=code)


def level_of(values: np.ndarray) -> float:
    """Level of the empty sky: the median, of an even choice of a million where there are more."""
    return float(np.median(_sample(values)))


def noise_of(values: np.ndarray, sky: float) -> float:
    """Standard deviation of the empty sky, 1.4826 times the median distance from its level.

    Stars and cosmic rays hardly move it as long as they cover a small part of the image. It is
    1 where there is no noise at all, so that one may divide by it.
    """
    deviation = float(np.median(np.abs(_sample(values) - np.float32(sky))))
    return GAUSSIAN_OVER_MAD * deviation or 1.0


def _sample(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return flat[:: max(1, flat.size // SAMPLE)]


def _read_planes(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    try:
        planes = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(path, "an exposure", "no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, "a readable array", f"a damaged file ({error})") from error
    if planes.dtype.kind not in "fiub":
        raise InputError(path, "an array of real numbers", str(planes.dtype))
    if planes.ndim == 2:
        planes = planes[np.newaxis]
    if planes.ndim != 3 or planes.shape[0] not in (1, 2, 3) or 0 in planes.shape:
        wanted = "shape (H, W), (2, H, W) or (3, H, W): image, mask, pixels to ignore"
        raise InputError(path, wanted, f"{planes.shape}")
    mask = planes[1] != 0 if len(planes) > 1 else None
    ignore = planes[2] != 0 if len(planes) > 2 else np.zeros(planes.shape[1:], dtype=bool)
    return planes[0], mask, ignore


def _sky_beside(path: Path) -> float | None:
    """The level that ``sky.npy`` in the same folder holds for this file."""
    beside = path.parent / SKY
    if not beside.is_file():
        return None
    try:
        levels = np.ravel(np.load(beside, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(beside, "a readable array", f"a damaged file ({error})") from error
    names = sorted(
        other.name
        for other in path.parent.glob("*.npy")
        if other.name != SKY and not other.name.startswith(".")
    )
    if len(levels) != len(names):
        got = f"{len(levels)} for {len(names)}"
        raise InputError(beside, "one sky level per .npy file beside it", got)
    level = float(levels[names.index(path.name)])
    if not np.isfinite(level):
        raise InputError(beside, "finite sky levels", f"{level} for {path.name}")
    return level


def _read_map(
    mask: Source | None, shape: tuple[int, ...], code: int
) -> tuple[np.ndarray | None, np.ndarray]:
    if mask is None:
        return None, np.zeros(shape, dtype=bool)
    path = mask[0] if isinstance(mask, tuple) else mask
    values = _one_slice(path)
    if values.shape != shape:
        raise InputError(path, f"the image's shape {shape}", f"{values.shape}")
    return values == code, (values != 0) & (values != code)


def _one_slice(path: Path) -> np.ndarray:
    array = read_volume(path).array
    if array.shape[2] != 1:
        raise InputError(path, "one 2D image", f"shape {array.shape}")
    plane: np.ndarray = array[..., 0]
    return plane
