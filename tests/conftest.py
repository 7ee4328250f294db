"""What holds for all tests."""

import os
import signal

from hypothesis import settings

# a busy machine is no fault of the code; where one change is judged, another run must say the same
settings.register_profile("medseg", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("medseg")

# a shell starts what it puts into the background with SIGINT ignored, and children inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
