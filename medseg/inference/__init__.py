"""Volume in, label map of the native grid out."""

from medseg.inference.arrays import as_volume, back_to

__all__ = ["as_volume", "back_to"]
