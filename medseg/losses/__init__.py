"""What training minimises."""

from medseg.losses.bce_dice import BCEDiceLoss
from medseg.losses.ce_dice import CEDiceLoss
from medseg.losses.deep_supervision import DeepSupervision

__all__ = ["BCEDiceLoss", "CEDiceLoss", "DeepSupervision"]
