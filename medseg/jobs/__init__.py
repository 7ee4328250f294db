"""One way to run a function over many cases."""

from medseg.jobs.ahead import in_turn
from medseg.jobs.claims import Order, join_job, run_claimed
from medseg.jobs.each import run_each
from medseg.jobs.journal import Journal, open_journal
from medseg.jobs.outcome import Outcome, in_one_line
from medseg.jobs.progress import Progress, silent
from medseg.jobs.run import run_jobs
from medseg.jobs.settings import JobSettings

__all__ = [
    "JobSettings", "Journal", "Order", "Outcome", "Progress", "in_one_line", "in_turn", "join_job",
    "open_journal", "run_claimed", "run_each", "run_jobs", "silent",
]  # fmt: skip
