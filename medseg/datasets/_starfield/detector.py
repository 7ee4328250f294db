"""From light and hits to what a detector reads out, and which of its pixels say nothing."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets._starfield.hits import cosmic_rays
from medseg.datasets._starfield.light import FULL_WELL, draw_seeing, galaxies, stars
from medseg.volumes.exposure import Exposure

READ_NOISE = 7.0  # electrons
MASK_FRACTION = 3.0  # a hit is where cosmic rays leave this many standard deviations of the sky
RIM_FRACTION = 0.3  # from here up to that, a pixel is the rim of a hit: neither call would be wrong
SATURATED = 0.95  # of the full well
BAD_SHARE = 5e-4  # of all pixels


@dataclass(frozen=True)
class Made:
    """An exposure with what went into it, which no telescope tells.

    Attributes:
        exposure: Image in electrons, mask, pixels to ignore, sky level.
        unusable: Pixels that are saturated or known to be bad, bool (H, W).
        deposit: Electrons from cosmic rays, float64 (H, W).
        noise: Standard deviation of the empty sky, in electrons.
        fwhm_pixels: Seeing.
    """

    exposure: Exposure
    unusable: np.ndarray
    deposit: np.ndarray
    noise: float
    fwhm_pixels: float


def make(seed: int, index: int, size: int) -> Made:
    """Make exposure ``index`` of the data set ``seed``."""
    rng = np.random.default_rng((seed, index))
    seeing = draw_seeing(rng)
    sky = float(np.exp(rng.uniform(np.log(100), np.log(4000))))  # electrons per pixel
    light = stars(rng, size, seeing) + galaxies(rng, size, seeing)
    deposit = cosmic_rays(rng, size)
    noise = float(np.sqrt(sky + READ_NOISE**2))
    electrons = rng.poisson(sky + light) + deposit
    _bleed(electrons)
    saturated = electrons >= SATURATED * FULL_WELL
    electrons = np.minimum(electrons, FULL_WELL) + rng.normal(0, READ_NOISE, electrons.shape)
    unusable = saturated | _bad_pixels(rng, electrons, sky)
    mask, rim = deposit >= MASK_FRACTION * noise, deposit >= RIM_FRACTION * noise
    exposure = Exposure(
        image=electrons.astype(np.float32),
        mask=mask,
        ignore=unusable | (rim & ~mask),
        sky=sky,
    )
    return Made(exposure, unusable, deposit, noise, seeing.fwhm_pixels)


def _bleed(electrons: np.ndarray) -> None:
    """Let what a pixel cannot hold run along its column, half to either side."""
    size = len(electrons)
    for row, column in np.argwhere(electrons > FULL_WELL):
        excess = electrons[row, column] - FULL_WELL
        electrons[row, column] = FULL_WELL
        for step in (-1, 1):
            rest, place = excess / 2, row + step
            while rest > 0 and 0 <= place < size:
                taken = min(rest, max(FULL_WELL - electrons[place, column], 0.0))
                electrons[place, column] += taken
                rest, place = rest - taken, place + step


def _bad_pixels(rng: np.random.Generator, electrons: np.ndarray, sky: float) -> np.ndarray:
    """Single pixels that are dead or hot, and now and then a column; known to be so, bool."""
    size = len(electrons)
    bad = rng.random(electrons.shape) < BAD_SHARE
    if rng.random() < 0.3:
        first, last = np.sort(rng.integers(0, size + 1, 2))
        bad[first:last, rng.integers(size)] = True
    hot = rng.random(electrons.shape) < 0.5
    electrons[bad & hot] += sky + rng.exponential(5000, int((bad & hot).sum()))
    electrons[bad & ~hot] = rng.normal(0, READ_NOISE, int((bad & ~hot).sum()))
    return bad
