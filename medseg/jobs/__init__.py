"""One way to run a function over many cases."""

from medseg.jobs.each import run_each
from medseg.jobs.outcome import Outcome
from medseg.jobs.progress import Progress, silent

__all__ = ["Outcome", "Progress", "run_each", "silent"]
