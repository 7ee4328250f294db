import numpy as np
import pytest
from astropy.io import fits

from medseg.case import Case
from medseg.errors import InputError
from medseg.volumes.exposure import exposure_of, noise_of, read_exposure

IMAGE = np.array([[7, 8, 9], [10, 1000, 9]], dtype=np.float32)
MASK = IMAGE > 100


def _npy(path, *planes):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.stack(planes).astype(np.float32))
    return path


def test_an_array_file_holds_image_mask_and_pixels_to_ignore(tmp_path):
    ignore = np.zeros_like(MASK)
    ignore[0, 0] = True
    exposure = read_exposure(_npy(tmp_path / "a.npy", IMAGE, MASK, ignore))
    np.testing.assert_array_equal(exposure.image, IMAGE)
    np.testing.assert_array_equal(exposure.mask, MASK)
    np.testing.assert_array_equal(exposure.ignore, ignore)
    assert exposure.sky == 9  # the median of 8 9 10 1000 9
    assert exposure.image.dtype == np.float32
    assert exposure.mask.dtype == exposure.ignore.dtype == bool


def test_an_array_file_may_lack_what_is_ignored_or_the_mask(tmp_path):
    assert not read_exposure(_npy(tmp_path / "a.npy", IMAGE, MASK)).ignore.any()
    np.save(tmp_path / "b.npy", IMAGE)
    assert read_exposure(tmp_path / "b.npy").mask is None


def test_sky_levels_follow_the_sorted_names(tmp_path):
    for name in ("c", "a", "b"):
        _npy(tmp_path / f"{name}.npy", IMAGE, MASK)
    np.save(tmp_path / "sky.npy", [1.5, 2.5, 3.5])
    assert [read_exposure(tmp_path / f"{name}.npy").sky for name in "abc"] == [1.5, 2.5, 3.5]
    np.save(tmp_path / "sky.npy", [1.5, 2.5])
    with pytest.raises(InputError, match=r"one sky level per .* got 2 for 3"):
        read_exposure(tmp_path / "a.npy")


def test_every_other_code_of_a_data_quality_map_is_ignored(tmp_path):
    image, quality = tmp_path / "x_ooi_r.fits", tmp_path / "x_ood_r.fits"
    fits.ImageHDU(IMAGE).writeto(image)
    fits.ImageHDU(np.array([[0, 3, 0], [4, 5, 0]], dtype=np.int32)).writeto(quality)
    exposure = exposure_of(Case("x", image, quality, {"cosmic ray": 5}))
    np.testing.assert_array_equal(exposure.mask, MASK)
    np.testing.assert_array_equal(exposure.ignore, [[False, True, False], [True, False, False]])
    assert exposure.sky == 9
    other = read_exposure(image, quality, code=3)
    np.testing.assert_array_equal(other.mask, [[False, True, False], [False] * 3])
    assert read_exposure(image).mask is None


def test_pixels_that_are_not_finite_are_ignored_and_hold_the_sky(tmp_path):
    broken = IMAGE.copy()
    broken[0, :2] = np.nan, np.inf
    exposure = read_exposure(_npy(tmp_path / "a.npy", broken, MASK))
    np.testing.assert_array_equal(exposure.ignore, ~np.isfinite(broken))
    assert exposure.sky == np.median([9, 10, 1000, 9])
    np.testing.assert_array_equal(exposure.image[0], [9.5, 9.5, 9])


def test_noise_is_the_standard_deviation_of_the_sky_despite_stars():
    values = np.random.default_rng(0).normal(100, 7, 100_000)
    values[:3000] = 5000
    assert noise_of(values, 100) == pytest.approx(7, rel=0.05)
    assert noise_of(np.full(9, 3.0), 3) == 1


@pytest.mark.parametrize(
    ("shape", "message"), [((4, 5, 6), r"\(3, H, W\)"), ((2, 0, 6), "got"), ((3,), "got")]
)
def test_arrays_of_another_shape_are_refused(tmp_path, shape, message):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(InputError, match=message):
        read_exposure(tmp_path / "a.npy")


def test_damaged_files_and_shapes_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        read_exposure(tmp_path / "a.npy")
    fits.ImageHDU(IMAGE).writeto(tmp_path / "i.fits")
    fits.ImageHDU(IMAGE[:1]).writeto(tmp_path / "m.fits")
    with pytest.raises(InputError, match=r"shape \(2, 3\), got \(1, 3\)"):
        read_exposure(tmp_path / "i.fits", tmp_path / "m.fits")
    with pytest.raises(InputError, match="one good pixel"):
        read_exposure(_npy(tmp_path / "b.npy", IMAGE, MASK, np.ones_like(MASK)))
