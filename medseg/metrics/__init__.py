"""Functions of one case on NumPy arrays."""

from medseg.metrics.boundary import boundary_iou
from medseg.metrics.case import OrganFigures, evaluate_case
from medseg.metrics.centre import centre_distance
from medseg.metrics.detection import tpr_at_fpr
from medseg.metrics.lesions import Lesions, lesions
from medseg.metrics.nsd import nsd
from medseg.metrics.overlap import dsc, iou, precision, recall
from medseg.metrics.roc import RocCounts
from medseg.metrics.surface import assd, hd, hd95
from medseg.metrics.table import METRICS, Metric, keys_of

__all__ = [
    "METRICS",
    "Lesions",
    "Metric",
    "OrganFigures",
    "RocCounts",
    "assd",
    "boundary_iou",
    "centre_distance",
    "dsc",
    "evaluate_case",
    "hd",
    "hd95",
    "iou",
    "keys_of",
    "lesions",
    "nsd",
    "precision",
    "recall",
    "tpr_at_fpr",
]
