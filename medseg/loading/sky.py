"""Exposures on a scale that networks can learn from, the same in training and in prediction."""

import numpy as np

SKY_LIMITS = (-10.0, 10_000.0)
"""Default limits, in standard deviations of the background noise: from below any sound pixel to
where detectors saturate."""


def normalise(
    image: np.ndarray,
    sky: float,
    noise: float,
    limits: tuple[float, float] = SKY_LIMITS,
) -> np.ndarray:
    """Compress an exposure to [0, 1]: ``asinh`` of its distance from the sky, in noise.

    ``asinh(x)`` is near x for faint pixels and near log(2x) for bright ones, so that hits of a
    few standard deviations and cores of bright stars both keep their shape. With the default
    limits the sky comes to lie at 0.232, and a standard deviation of it spans 0.068.

    Args:
        image: Any shape, in any unit proportional to light.
        sky: Level of the empty sky, in the same unit.
        noise: Standard deviation of the empty sky, in the same unit; by the median absolute
            deviation (:func:`medseg.volumes.exposure.noise_of`).
        limits: Lowest and highest distance from the sky, in standard deviations of the noise;
            they become 0 and 1, and what lies beyond is clipped.

    Returns:
        Float32, same shape.
    """
    signal = (np.asarray(image, dtype=np.float32) - np.float32(sky)) / np.float32(noise)
    return compress(signal, limits)


def compress(signal: np.ndarray, limits: tuple[float, float] = SKY_LIMITS) -> np.ndarray:
    """The second half of :func:`normalise`: from standard deviations above the sky to [0, 1]."""
    low, high = np.arcsinh(limits)
    scaled: np.ndarray = np.arcsinh(np.clip(signal, *limits, dtype=np.float32))
    scaled -= np.float32(low)
    scaled *= np.float32(1 / (high - low))
    np.clip(scaled, 0, 1, out=scaled)
    return scaled
