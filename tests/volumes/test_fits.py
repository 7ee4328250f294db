import builtins
import gzip

import numpy as np
import pytest
from astropy.io import fits

from medseg.errors import InputError
from medseg.volumes import Volume, read_header, read_volume, stem_of, write_label_map, write_volume

PIXELS = np.arange(12, dtype=np.float32).reshape(3, 4)


def _write(path, *units):
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(path)
    return path


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_the_first_2d_image_is_read_with_rows_first(tmp_path, suffix):
    cube = fits.ImageHDU(np.zeros((2, 3, 4), dtype=np.float32))
    path = _write(tmp_path / f"a{suffix}", cube, fits.ImageHDU(PIXELS), fits.ImageHDU(-PIXELS))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, PIXELS[..., None])
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    assert volume.array.dtype.isnative
    assert read_header(path).shape == (3, 4, 1)
    assert stem_of(path) == "a"


def test_a_compressed_image_is_read(tmp_path):
    plane = np.random.default_rng(0).integers(0, 9, (40, 50)).astype(np.int32)
    unit = fits.CompImageHDU(plane, compression_type="RICE_1")
    path = _write(tmp_path / "a.fits.fz", unit)
    np.testing.assert_array_equal(read_volume(path).array[..., 0], plane)


def test_numbers_with_an_offset_are_the_numbers_they_stand_for(tmp_path):
    counts = np.array([[0, 40000], [65535, 1]], dtype=np.uint16)  # FITS has no unsigned 16 bits
    path = _write(tmp_path / "a.fits", fits.ImageHDU(counts))
    np.testing.assert_array_equal(read_volume(path).array[..., 0], counts)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_mask_written_as_fits_returns(tmp_path, suffix):
    mask = np.random.default_rng(0).random((5, 7, 1)) > 0.5
    write_label_map(tmp_path / f"mask{suffix}", Volume(mask.astype(np.int64), np.eye(4)))
    back = read_volume(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(back.array, mask)
    assert back.array.dtype == np.uint8
    assert [path.name for path in tmp_path.iterdir()] == [f"mask{suffix}"]


def test_several_slices_are_not_written_as_fits(tmp_path):
    with pytest.raises(InputError, match=r"one slice.*\(2, 2, 3\)"):
        write_volume(tmp_path / "a.fits", Volume(np.zeros((2, 2, 3)), np.eye(4)))


def test_a_file_without_a_2d_image_is_refused(tmp_path):
    path = _write(tmp_path / "a.fits", fits.ImageHDU(np.zeros((2, 2, 2))))
    with pytest.raises(InputError, match="a 2D image, got none"):
        read_volume(path)


@pytest.mark.parametrize("keep", [10, 2000, 2880 + 2880 + 100, 8000])
def test_a_truncated_file_is_refused(tmp_path, keep):
    whole = _write(tmp_path / "whole.fits", fits.ImageHDU(np.zeros((50, 50)))).read_bytes()
    assert keep < len(whole)
    (tmp_path / "a.fits").write_bytes(whole[:keep])
    with pytest.raises(InputError, match="a readable FITS file"):
        read_volume(tmp_path / "a.fits")
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(InputError, match="a readable FITS file"):
        read_volume(tmp_path / "b.fits.gz")


def test_what_is_no_fits_and_what_is_missing_are_refused(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="damaged"):
        read_volume(tmp_path / "a.fits")
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "b.fits")


def test_without_astropy_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = _write(tmp_path / "a.fits", fits.ImageHDU(PIXELS))
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("astropy"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'medseg\[decam\]'"):
        read_volume(path)
