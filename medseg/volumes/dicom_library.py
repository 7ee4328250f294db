"""pydicom and highdicom, imported late, and the guard under which they meet a file.

What DICOM libraries say of a broken element may hold its value, and with it a patient's name. So
their warnings are dropped, and of their errors only the kind is told. The filter of warnings stays
for good: one that is taken back is taken back under the hands of other threads.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError

WARNING = r"(pydicom|highdicom|medseg\.volumes\.dicom)"  # start of the module that is named
INSTALL = "pip install 'medseg[dicom]'"


def pydicom_for(path: str | Path) -> Any:
    """The module pydicom.

    Raises:
        InputError: If it is not installed; ``path`` is what was to be read or written.
    """
    try:
        import pydicom
    except ImportError:
        raise InputError(path, "pydicom to read and write DICOM", "none", hint=INSTALL) from None
    logger = logging.getLogger("pydicom")
    if not logger.handlers:  # or Python would write what it says to stderr
        logger.addHandler(logging.NullHandler())
    return pydicom


def highdicom_for(path: str | Path) -> Any:
    """The module highdicom, with its parts for segmentations.

    Raises:
        InputError: If it is not installed; ``path`` is what was to be written.
    """
    try:
        import highdicom
        import highdicom.seg
    except ImportError:
        raise InputError(path, "highdicom to write DICOM SEG", "none", hint=INSTALL) from None
    return highdicom


@contextmanager
def guarded(where: str | Path, wanted: str = "a readable DICOM file") -> Iterator[None]:
    """Turn whatever a library raises into an error that names the file and no content of it.

    Raises:
        InputError: In place of any error in the block.
    """
    _silence()
    try:
        yield
    except (MedsegError, MemoryError):
        raise
    except PermissionError:
        raise InputError(where, wanted, "no permission to read it") from None
    except FileNotFoundError:
        raise InputError(where, wanted, "no such file") from None
    except Exception as error:  # noqa: BLE001 - of many classes, some of them the libraries own
        got = f"a damaged or truncated file ({type(error).__name__})"
        raise InputError(where, wanted, got) from None


def _silence() -> None:
    """Drop the warnings of the libraries, and those laid at the door of whoever called them."""
    known = (entry[3] for entry in warnings.filters)
    if not any(getattr(module, "pattern", None) == WARNING for module in known):
        warnings.filterwarnings("ignore", module=WARNING)
