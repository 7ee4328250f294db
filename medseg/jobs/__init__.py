"""One way to run a function over many cases."""

from medseg.jobs.each import Outcome, run_each
from medseg.jobs.progress import Progress, silent

__all__ = ["Outcome", "Progress", "run_each", "silent"]
