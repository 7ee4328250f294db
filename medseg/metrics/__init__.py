"""Functions of one case on NumPy arrays."""

from medseg.metrics.case import OrganFigures, evaluate_case
from medseg.metrics.detection import tpr_at_fpr
from medseg.metrics.overlap import dsc
from medseg.metrics.roc import RocCounts
from medseg.metrics.surface import hd95

__all__ = ["OrganFigures", "RocCounts", "dsc", "evaluate_case", "hd95", "tpr_at_fpr"]
