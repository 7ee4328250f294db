"""What training minimises."""

from medseg.losses.bce_dice import BCEDiceLoss
from medseg.losses.ce_dice import CEDiceLoss

__all__ = ["BCEDiceLoss", "CEDiceLoss"]
