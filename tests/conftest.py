"""What holds for all tests."""

from hypothesis import settings

settings.register_profile("medseg", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("medseg")
