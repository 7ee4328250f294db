"""Functions of one case on NumPy arrays."""

from medseg.metrics.case import OrganFigures, evaluate_case
from medseg.metrics.overlap import dsc
from medseg.metrics.surface import hd95

__all__ = ["OrganFigures", "dsc", "evaluate_case", "hd95"]
