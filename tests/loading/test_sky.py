import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.loading.preprocessing import Preprocessing, prepare_image
from medseg.loading.sky import compress, normalise
from medseg.volumes import Volume


def test_the_limits_become_zero_and_one_and_the_documented_numbers_hold():
    scaled = normalise(np.array([90.0, 100, 101, 1e9, -1e9]), sky=100, noise=1)
    np.testing.assert_allclose(scaled, [0, 0.2324, 0.3007, 1, 0], atol=1e-4)
    assert scaled.dtype == np.float32


def test_unit_and_offset_of_the_image_do_not_matter():
    image = np.random.default_rng(0).normal(100, 10, (8, 8))
    one, other = normalise(image, 100, 10), normalise(4 * image + 7, 407, 40)
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_order_of_pixels_is_kept_within_the_limits():
    signal = np.linspace(-5, 50, 200, dtype=np.float32)
    scaled = compress(signal, (-5.0, 50.0))
    assert (np.diff(scaled) > 0).all()
    expected = (np.arcsinh(signal) - np.arcsinh(-5)) / (np.arcsinh(50) - np.arcsinh(-5))
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_prepare_image_measures_sky_and_noise_itself():
    image = np.random.default_rng(0).normal(1000, 20, (64, 64, 1))
    image[3, 4] = 1e5
    prepared = prepare_image(Volume(image, np.eye(4)), Preprocessing(sky=(-10, 10_000)))
    np.testing.assert_allclose(prepared.array, normalise(image, 1000, 20), atol=0.02)
    assert prepared.array.shape == (64, 64, 1)


def test_exactly_one_scale_is_given():
    with pytest.raises(UsageError, match="exactly one of window, percentiles and sky"):
        Preprocessing(sky=(-10, 100), window=(0, 1))
    with pytest.raises(UsageError, match="exactly one"):
        Preprocessing()
    with pytest.raises(UsageError, match="sky must be two numbers, the lower first"):
        Preprocessing(sky=(10, -10))
