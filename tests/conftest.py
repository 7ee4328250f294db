"""What holds for all tests."""

import os

from hypothesis import settings

# a busy machine is no fault of the code; where one change is judged, another run must say the same
settings.register_profile("medseg", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("medseg")
