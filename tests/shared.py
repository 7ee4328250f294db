"""Where the folder of real data and reference numbers is, on machines that have it."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MEDSEG_SHARED", Path(__file__).parents[2] / "shared"))
needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"needs the shared data folder, not found at {SHARED}"
)
