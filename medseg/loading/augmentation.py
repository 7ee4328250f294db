"""Random changes to a training slice: where its pixels are taken from, and their intensities."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from medseg.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far training slices are varied; plain numbers, 0 or none switches a part off.

    Lengths are in pixels of the network's input, intensities on the scale [0, 1]. Every change
    of place is composed with the resizing into one warp, so that a slice is interpolated once.

    Attributes:
        turn_and_flip_probability: How often a slice is turned by a random number of quarter turns
            and mirrored along a random axis, as the original TransUNet does, instead of all other
            changes of place.
        flip_axes: Input axes that are mirrored half the time: 0 is left-right, 1 front-back.
            None by default, since the abdomen is not symmetric.
        rotation_degrees: Largest rotation to either side.
        scale: Smallest and largest magnification.
        shear_degrees: Largest shear to either side.
        translate: Largest shift along each axis, as a fraction of the input's size.
        spatial_probability: How often rotation, scale, shear and shift are drawn, together.
        elastic_pixels: Standard deviation of a smooth random displacement.
        elastic_points: Points along each axis between which the displacement is smooth.
        elastic_probability: How often there is such a displacement.
        brightness: Largest intensity added or taken away.
        contrast: Largest relative change of the distance from the slice's mean.
        gamma: Smallest and largest exponent.
        noise: Largest standard deviation of Gaussian noise.
        blur_pixels: Largest standard deviation of a Gaussian blur.
        intensity_probability: How often each of these five is applied, one apart from another.

    Raises:
        UsageError: If the numbers do not make sense.
    """

    turn_and_flip_probability: float = 0.0
    flip_axes: tuple[int, ...] = ()
    rotation_degrees: float = 20.0
    scale: tuple[float, float] = (0.85, 1.2)
    shear_degrees: float = 0.0
    translate: float = 0.05
    spatial_probability: float = 0.8
    elastic_pixels: float = 3.0
    elastic_points: int = 6
    elastic_probability: float = 0.3
    brightness: float = 0.1
    contrast: float = 0.15
    gamma: tuple[float, float] = (0.8, 1.25)
    noise: float = 0.03
    blur_pixels: float = 1.0
    intensity_probability: float = 0.3

    def __post_init__(self) -> None:
        for name in ("flip_axes", "scale", "gamma"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not set(self.flip_axes) <= {0, 1}:
            raise UsageError(f"flip_axes must be out of 0 and 1, got {self.flip_axes}")
        for name in ("scale", "gamma"):
            pair = getattr(self, name)
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                raise UsageError(f"{name} must be two positive numbers, lower first, got {pair}")
        for part in ("turn_and_flip", "spatial", "elastic", "intensity"):
            name = f"{part}_probability"
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if self.elastic_points < 2:
            raise UsageError(f"elastic_points must be 2 or more, got {self.elastic_points}")


def draw_matrix(
    augmentation: Augmentation, rng: np.random.Generator, image_size: tuple[int, int]
) -> np.ndarray:
    """Draw an affine from pixel (h, w) of the varied input to that of the plain one, (3, 3)."""
    centre = (np.asarray(image_size, dtype=float) - 1) / 2
    share = augmentation.turn_and_flip_probability
    if share and rng.random() < share:
        return _about(centre, np.linalg.inv(_turn_and_flip(rng)), np.zeros(2))
    flips = [
        -1.0 if axis in augmentation.flip_axes and rng.random() < 0.5 else 1.0 for axis in (0, 1)
    ]
    forward = np.diag(flips)
    shift = np.zeros(2)
    if rng.random() < augmentation.spatial_probability:
        angle = np.deg2rad(augmentation.rotation_degrees) * rng.uniform(-1, 1)
        shear = np.tan(np.deg2rad(augmentation.shear_degrees) * rng.uniform(-1, 1))
        magnify = np.exp(rng.uniform(*np.log(augmentation.scale)))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        forward = magnify * turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ forward
        shift = augmentation.translate * rng.uniform(-1, 1, size=2) * image_size
    return _about(centre, np.linalg.inv(forward), shift)


def _turn_and_flip(rng: np.random.Generator) -> np.ndarray:
    """Quarter turns, then a mirroring, both at random, (2, 2) of whole numbers."""
    turn = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), int(rng.integers(4)))
    flip = np.diag([-1.0, 1.0]) if rng.random() < 0.5 else np.diag([1.0, -1.0])
    return np.asarray(flip @ turn)


def _about(centre: np.ndarray, back: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The matrix, (3, 3), that does ``back`` about the centre after undoing ``shift``."""
    matrix = np.eye(3)
    matrix[:2, :2] = back
    matrix[:2, 2] = centre - back @ (centre + shift)
    return matrix


def draw_displacement(
    augmentation: Augmentation, rng: np.random.Generator, image_size: tuple[int, int]
) -> np.ndarray | None:
    """Draw a smooth displacement (w, h) of every input pixel, float32 (H, W, 2), or none."""
    drawn = rng.random() < augmentation.elastic_probability
    if not (drawn and augmentation.elastic_pixels):
        return None
    points = augmentation.elastic_points
    coarse = rng.standard_normal((points, points, 2), dtype=np.float32)
    coarse = np.clip(coarse, -2, 2) * np.float32(augmentation.elastic_pixels)
    height, width = image_size
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def vary_intensity(
    augmentation: Augmentation, image: np.ndarray, rng: np.random.Generator, noise: np.ndarray
) -> np.ndarray:
    """Vary the intensities of one input: blur, gamma, contrast, brightness, noise, in this order.

    Args:
        augmentation: How far.
        image: Float32 in [0, 1], shape (channels, H, W); may be overwritten.
        rng: Where the numbers come from.
        noise: Standard normal numbers, float32, at least twice as many as the image has pixels;
            a run of them with a random start spares drawing new ones.

    Returns:
        The varied image, same shape; brightness, contrast and noise may leave [0, 1].
    """
    chosen = rng.random(5) < augmentation.intensity_probability
    amounts = rng.uniform(-1, 1, size=5)
    if chosen[0] and augmentation.blur_pixels:
        sigma = max(abs(float(amounts[0])) * augmentation.blur_pixels, 1e-3)
        for channel in image:
            cv2.GaussianBlur(channel, (0, 0), sigma, dst=channel)
    if chosen[1] and augmentation.gamma != (1.0, 1.0):
        low, high = np.log(augmentation.gamma)
        exponent = float(np.exp(low + (high - low) * (amounts[1] + 1) / 2))
        rows = image.reshape(-1, image.shape[-1])
        cv2.pow(rows, exponent, dst=rows)
    if chosen[2] and augmentation.contrast:
        factor = np.float32(1 + augmentation.contrast * amounts[2])
        mean = np.float32(image.mean())
        image *= factor
        image += mean * (1 - factor)
    if chosen[3] and augmentation.brightness:
        image += np.float32(augmentation.brightness * amounts[3])
    if chosen[4] and augmentation.noise:
        start = int(rng.integers(noise.size - image.size + 1))
        deviation = np.float32(augmentation.noise * abs(amounts[4]))
        image += noise[start : start + image.size].reshape(image.shape) * deviation
    return image


@lru_cache(maxsize=8)
def pixel_grid(image_size: tuple[int, int]) -> np.ndarray:
    """Place (w, h) of every input pixel, float32 (H, W, 2); not to be written to."""
    rows, columns = (np.arange(size, dtype=np.float32) for size in image_size)
    grid = np.stack(np.broadcast_arrays(columns[None], rows[:, None]), axis=-1)
    grid.flags.writeable = False
    return grid
