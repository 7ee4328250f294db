"""Random changes to a training patch: where its voxels are taken from, and their intensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from medseg.errors import UsageError
from medseg.loading.augmentation import Augmentation, vary_intensity

THICK = 3.0  # times the finest spacing: about such an axis alone is a patch rotated


@dataclass(frozen=True, kw_only=True)
class VolumeAugmentation:
    """How far training patches are varied; plain numbers, 0 or none switches a part off.

    Intensities are on the scale [0, 1]. Every change of place is composed into one warp, so that
    a patch is interpolated once. Rotations act in millimetres, whatever the spacing.

    Attributes:
        flip_axes: Axes that are mirrored half the time: 0 is left-right, 1 back-front, 2
            feet-head. None by default: left and right organs would be taken for each other.
        rotation_degrees: Largest rotation about each axis, to either side; only about the thick
            axis where slices are more than three times as far apart as their pixels.
        scale: Smallest and largest magnification of the whole.
        stretch: Largest relative change of each axis besides.
        translate: Largest shift along each axis, as a fraction of the patch.
        spatial_probability: How often rotation, scale and stretch are drawn, together, and how
            often a shift is.
        elastic_voxels: Standard deviation of a smooth random displacement, in voxels of the
            finest axis; the same length in millimetres along the others.
        elastic_points: Points along each axis between which the displacement is smooth.
        elastic_probability: How often there is such a displacement.
        brightness: Largest intensity added or taken away.
        contrast: Largest relative change of the distance from the patch's mean.
        gamma: Smallest and largest exponent.
        noise: Largest standard deviation of Gaussian noise.
        blur_voxels: Largest standard deviation of a Gaussian blur.
        coarsen: Largest factor by which the resolution is lowered, 1 for never.
        intensity_probability: How often each of these six is applied, one apart from another.

    Raises:
        UsageError: If the numbers do not make sense.
    """

    flip_axes: tuple[int, ...] = ()
    rotation_degrees: float = 20.0
    scale: tuple[float, float] = (0.8, 1.25)
    stretch: float = 0.1
    translate: float = 0.06
    spatial_probability: float = 0.85
    elastic_voxels: float = 1.5
    elastic_points: int = 5
    elastic_probability: float = 0.3
    brightness: float = 0.1
    contrast: float = 0.25
    gamma: tuple[float, float] = (0.7, 1.5)
    noise: float = 0.05
    blur_voxels: float = 0.8
    coarsen: float = 2.0
    intensity_probability: float = 0.25

    def __post_init__(self) -> None:
        object.__setattr__(self, "flip_axes", tuple(self.flip_axes))
        if not set(self.flip_axes) <= {0, 1, 2}:
            raise UsageError(f"flip_axes must be out of 0, 1 and 2, got {self.flip_axes}")
        if not 0 <= self.stretch < 1:
            raise UsageError(f"stretch must be at least 0 and below 1, got {self.stretch}")
        if self.coarsen < 1:
            raise UsageError(f"coarsen must be 1 or more, got {self.coarsen}")
        plain = self.intensities  # checks what both kinds have
        object.__setattr__(self, "scale", plain.scale)
        object.__setattr__(self, "gamma", plain.gamma)

    @cached_property
    def intensities(self) -> Augmentation:
        """What slices and patches have in common."""
        return Augmentation(
            scale=self.scale,
            spatial_probability=self.spatial_probability,
            elastic_points=self.elastic_points,
            elastic_probability=self.elastic_probability,
            brightness=self.brightness,
            contrast=self.contrast,
            gamma=self.gamma,
            noise=self.noise,
            blur_pixels=0.0,  # a volume's blur has three axes
            intensity_probability=self.intensity_probability,
        )


def draw_volume_matrix(
    augmentation: VolumeAugmentation, rng: np.random.Generator, spacing: Sequence[float]
) -> np.ndarray:
    """Draw a matrix from offsets (x, y, z) in the varied patch to those in the stored volume.

    Args:
        augmentation: How far.
        rng: Where the numbers come from.
        spacing: Of the stored volume, in mm along x, y and z.

    Returns:
        Shape (3, 3), in voxels about the patch's centre.
    """
    flips = [-1.0 if a in augmentation.flip_axes and rng.random() < 0.5 else 1.0 for a in range(3)]
    if rng.random() >= augmentation.spatial_probability:
        return np.diag(flips)
    mm = np.asarray(spacing, dtype=float)
    thick = int(np.argmax(mm)) if mm.max() > THICK * mm.min() else None
    angles = np.deg2rad(augmentation.rotation_degrees) * rng.uniform(-1, 1, size=3)
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        if thick in (None, axis):
            turn = turn @ _rotation(axis, angle)
    whole = np.exp(rng.uniform(*np.log(augmentation.scale)))
    each = np.exp(np.log1p(augmentation.stretch) * rng.uniform(-1, 1, size=3))
    # voxels to millimetres, turned, magnified less the larger an organ shall look, and back
    return np.diag(1 / mm) @ turn @ np.diag(mm * np.asarray(flips) / (whole * each))


def draw_volume_shift(
    augmentation: VolumeAugmentation, rng: np.random.Generator, patch_size: Sequence[int]
) -> np.ndarray:
    """Draw a shift (x, y, z) in voxels."""
    if rng.random() >= augmentation.spatial_probability:
        return np.zeros(3)
    return np.asarray(augmentation.translate * rng.uniform(-1, 1, size=3) * patch_size)


def draw_volume_displacement(
    augmentation: VolumeAugmentation,
    rng: np.random.Generator,
    patch_size: Sequence[int],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> torch.Tensor | None:
    """Draw a smooth displacement (x, y, z) of every voxel, float32 (3, X, Y, Z), or none.

    It is given in voxels; ``spacing`` is their distance along x, y and z, in mm.
    """
    drawn = rng.random() < augmentation.elastic_probability
    if not (drawn and augmentation.elastic_voxels):
        return None
    points = augmentation.elastic_points
    coarse = np.clip(rng.standard_normal((1, 3, points, points, points), dtype=np.float32), -2, 2)
    voxels = augmentation.elastic_voxels * min(spacing) / np.asarray(spacing)
    smooth = F.interpolate(
        torch.from_numpy(coarse * voxels.astype(np.float32)[:, None, None, None]),
        tuple(patch_size),
        mode="trilinear",
        align_corners=True,
    )
    return smooth[0]


def vary_volume(
    augmentation: VolumeAugmentation,
    image: np.ndarray,
    rng: np.random.Generator,
    noise: np.ndarray,
) -> np.ndarray:
    """Vary the intensities of a patch (X, Y, Z) in [0, 1]; it may be overwritten.

    Resolution and blur come first, then what :func:`vary_intensity` does, with ``noise`` as it
    wants it.
    """
    chosen = rng.random(2) < augmentation.intensity_probability
    amounts = rng.random(2)
    if chosen[0] and augmentation.coarsen > 1:
        image = _coarser(image, 1 + (augmentation.coarsen - 1) * float(amounts[0]))
    if chosen[1] and augmentation.blur_voxels:
        sigma = augmentation.blur_voxels * float(amounts[1])
        image = np.asarray(gaussian_filter(image, sigma, truncate=3))
    return vary_intensity(augmentation.intensities, image, rng, noise)


def _coarser(image: np.ndarray, factor: float) -> np.ndarray:
    size = [max(2, round(side / factor)) for side in image.shape]
    volume = torch.from_numpy(image)[None, None]
    small = F.interpolate(volume, size, mode="nearest")
    back = F.interpolate(small, image.shape, mode="trilinear", align_corners=False)
    return np.ascontiguousarray(back[0, 0].numpy())


def _rotation(axis: int, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = (other for other in range(3) if other != axis)
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = cos
    turn[first, second], turn[second, first] = -sin, sin
    return turn
