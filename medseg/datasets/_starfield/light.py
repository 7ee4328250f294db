"""What shines: stars and galaxies as the atmosphere and the optics spread them."""

from dataclasses import dataclass

import numpy as np

FULL_WELL = 60_000.0  # electrons that a pixel can hold
FAINTEST = 60.0  # electrons of the faintest star; no larger than the noise of a few pixels
BRIGHTEST = 3e6  # such a star saturates its core
SLOPE = 0.75  # of the number of stars brighter than F, which falls as F**-SLOPE
WING_ELECTRONS = 0.3  # a star is drawn as far out as it gives this much light per pixel
SUBPIXELS = (np.arange(3) - 1) / 3


@dataclass(frozen=True)
class Seeing:
    """A Moffat profile, (1 + r² / alpha²)**-beta, slightly elongated along one direction.

    Attributes:
        fwhm_pixels: Full width at half maximum (FWHM).
        beta: How steeply its wings fall.
        stretch: Ratio of the longer axis to the shorter one.
        angle: Direction of the longer axis, in radians.
    """

    fwhm_pixels: float
    beta: float
    stretch: float
    angle: float

    @property
    def alpha(self) -> float:
        """The profile's length, in pixels."""
        return float(self.fwhm_pixels / (2 * np.sqrt(2 ** (1 / self.beta) - 1)))

    def peak(self, flux: float) -> float:
        """Brightness at the centre of a star of so many electrons, per pixel."""
        return float(flux * (self.beta - 1) / (np.pi * self.alpha**2))


def draw_seeing(rng: np.random.Generator) -> Seeing:
    """Draw the seeing of an exposure, from stars as sharp as a cosmic ray to blurred ones."""
    return Seeing(
        fwhm_pixels=float(rng.uniform(2.0, 4.8)),
        beta=float(rng.uniform(2.5, 4.5)),
        stretch=float(rng.uniform(1.0, 1.15)),
        angle=float(rng.uniform(0, np.pi)),
    )


def stars(rng: np.random.Generator, size: int, seeing: Seeing) -> np.ndarray:
    """Light of a field of stars, in electrons, float64 (size, size).

    Their number differs tenfold from field to field. Some lie outside and reach in.
    """
    light = np.zeros((size, size))
    margin = 20
    area = ((size + 2 * margin) / 256) ** 2
    number = rng.poisson(area * np.exp(rng.uniform(np.log(60), np.log(600))))
    places = rng.uniform(-margin, size + margin, (number, 2))
    for place, flux in zip(places, _fluxes(rng, number), strict=True):
        _add_star(light, place, flux, seeing)
    return light


def galaxies(rng: np.random.Generator, size: int, seeing: Seeing) -> np.ndarray:
    """Light of exponential discs, in electrons, float64 (size, size); the seeing rounds them."""
    light = np.zeros((size, size))
    rows, columns = np.mgrid[:size, :size].astype(float)
    for _ in range(rng.poisson(10 * (size / 256) ** 2)):
        flux, scale = np.exp(rng.uniform(np.log(300), np.log(60_000))), rng.uniform(0.7, 6)
        axis_ratio, angle = rng.uniform(0.15, 1), rng.uniform(0, np.pi)
        y, x = rows - rng.uniform(0, size), columns - rng.uniform(0, size)
        along = np.cos(angle) * y + np.sin(angle) * x
        across = np.cos(angle) * x - np.sin(angle) * y
        blur = seeing.fwhm_pixels / 2.355  # as wide as the seeing, however thin the disc
        width = np.hypot(scale * axis_ratio, blur) / np.hypot(scale, blur)
        radius = np.sqrt(along**2 + (across / width) ** 2 + blur**2) / np.hypot(scale, blur)
        profile = np.exp(-radius)
        light += flux * profile / max(profile.sum(), 1e-9)
    return light


def _fluxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """Electrons of so many stars: the fainter, the more."""
    low, high = FAINTEST**-SLOPE, BRIGHTEST**-SLOPE
    return np.asarray((high + (low - high) * rng.random(number)) ** (-1 / SLOPE))


def _add_star(light: np.ndarray, place: np.ndarray, flux: float, seeing: Seeing) -> None:
    """Add a star at (row, column), its profile averaged over nine points of every pixel."""
    peak, size = seeing.peak(flux), len(light)
    falls_to = max(peak / WING_ELECTRONS, 1.0)
    reach = seeing.alpha * np.sqrt(falls_to ** (1 / seeing.beta) - 1) * seeing.stretch + 3
    first = np.clip(np.floor(place - reach).astype(int), 0, size)
    last = np.clip(np.ceil(place + reach).astype(int) + 1, 0, size)
    if (first >= last).any():
        return
    cos, sin = np.cos(seeing.angle), np.sin(seeing.angle)
    y = np.arange(first[0], last[0])[:, None, None] - place[0]
    x = np.arange(first[1], last[1])[None, :, None] - place[1]
    dy, dx = (part.ravel() for part in np.meshgrid(SUBPIXELS, SUBPIXELS))
    along = cos * (y + dy) + sin * (x + dx)
    across = cos * (x + dx) - sin * (y + dy)
    squared = along**2 / seeing.stretch + across**2 * seeing.stretch
    profile = (1 + squared / seeing.alpha**2) ** -seeing.beta
    light[first[0] : last[0], first[1] : last[1]] += peak * profile.mean(axis=-1)
