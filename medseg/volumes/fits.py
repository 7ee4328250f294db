"""FITS images, as telescopes write them: the first two-dimensional image of a file.

Rows come first, as NumPy and astropy count them: a pixel's place along FITS axis 2, then along
axis 1. Positions on the sky are not read; a pixel is given a spacing of 1.
"""

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.volumes.volume import Volume

FITS = (".fits", ".fits.gz", ".fits.fz")
DAMAGE = (OSError, EOFError, ValueError, TypeError, IndexError, KeyError, zlib.error, Warning)
INSTALL = "pip install 'medseg[decam]'"


def read_fits(path: Path) -> Volume:
    """Read the first 2D image of a FITS file, in the machine's byte order.

    Returns:
        Shape (X, Y, 1), with X the rows and Y the columns, and the identity as affine. Integers
        with an offset or a scale (``BZERO``, ``BSCALE``) come as the numbers they stand for.

    Raises:
        InputError: If astropy is missing, the file is damaged, or it holds no 2D image.
    """
    fits = _astropy(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd header cards do not concern the pixels
        warnings.filterwarnings("error", ".*truncated.*")
        try:
            with fits.open(_content(path), memmap=False) as units:
                array = next((unit.data for unit in units if _is_image(unit)), None)
        except DAMAGE as error:
            raise _damaged(path, error) from error
        except fits.VerifyError as error:
            raise _damaged(path, error) from error
    if array is None:
        raise InputError(path, "a FITS file with a 2D image", "none in any of its extensions")
    native = np.asarray(array).astype(array.dtype.newbyteorder("="), copy=False)
    return Volume(native[..., np.newaxis], np.eye(4))


def write_fits(path: Path, volume: Volume) -> None:
    """Write a volume of shape (X, Y, 1) as the only image of a FITS file.

    Raises:
        InputError: If astropy is missing, or the volume has several slices.
    """
    fits = _astropy(path)
    if volume.array.ndim != 3 or volume.array.shape[2] != 1:
        raise InputError(path, "an image of one slice for FITS", f"shape {volume.array.shape}")
    fits.PrimaryHDU(np.ascontiguousarray(volume.array[..., 0])).writeto(path)


def _content(path: Path) -> io.BytesIO:
    """The whole file; unpacked to its last byte, so that a checksum at its end is heeded."""
    content = path.read_bytes()
    return io.BytesIO(gzip.decompress(content) if path.suffix.lower() == ".gz" else content)


def _is_image(unit: Any) -> bool:
    return bool(unit.is_image) and len(unit.shape) == 2


def _damaged(path: Path, error: BaseException) -> InputError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return InputError(path, "a readable FITS file", f"a damaged or truncated file ({reason})")


def _astropy(path: Path) -> Any:
    try:
        from astropy.io import fits
    except ImportError:
        raise InputError(path, "astropy to read and write FITS", "none", hint=INSTALL) from None
    return fits
