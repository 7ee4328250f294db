"""Clear up a label map organ by organ: small pieces away, the largest kept, holes filled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_fill_holes, generate_binary_structure
from scipy.ndimage import label as number_pieces

from medseg.errors import UsageError
from medseg.metrics.boxes import bounding_boxes
from medseg.volumes import Volume

TOUCHING = generate_binary_structure(3, 3)  # voxels that share a corner are one piece


@dataclass(frozen=True)
class Step:
    """What is done to one organ, in this order; plain data.

    Attributes:
        min_ml: Pieces smaller than this become background, in ml.
        keep_largest: So many of the largest pieces stay, the others become background.
        fill_holes: Background that the organ encloses becomes organ. Other organs stay.

    Raises:
        UsageError: If a number makes no sense, or nothing is to be done.
    """

    min_ml: float | None = None
    keep_largest: int | None = None
    fill_holes: bool = False

    def __post_init__(self) -> None:
        if self.min_ml is not None and not 0 < float(self.min_ml) < float("inf"):
            raise UsageError(f"min_ml must be a volume in ml, got {self.min_ml!r}")
        whole = self.keep_largest is None or (
            type(self.keep_largest) is int and self.keep_largest > 0
        )
        if not whole:
            raise UsageError(f"keep_largest must be 1 or more, got {self.keep_largest!r}")
        if not isinstance(self.fill_holes, bool):  # "false" would be taken for true
            raise UsageError(f"fill_holes must be true or false, got {self.fill_holes!r}")
        if (self.min_ml, self.keep_largest, self.fill_holes) == (None, None, False):
            raise UsageError("expected min_ml, keep_largest or fill_holes, got none of them")

    def to_plain(self) -> dict[str, Any]:
        """What is set, for JSON; ``Step(**plain)`` reads it back."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


def postprocess(volume: Volume, steps: Mapping[str, Step], labels: Mapping[str, int]) -> Volume:
    """Clear up a label map.

    Args:
        volume: Label map; it stays as it is.
        steps: Organ → what to do; organs that are not named stay as they are.
        labels: Organ → value in the label map.

    Returns:
        The label map; ``volume`` itself if there is nothing to do.
    """
    if not steps:
        return volume
    array = volume.array.copy(order="K")
    voxel_ml = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    boxes = bounding_boxes(array)
    for organ, step in steps.items():
        value = labels[organ]
        if value not in boxes:
            continue
        part = array[boxes[value]]
        mask = part == value
        kept = cleared(mask, step, voxel_ml)
        part[mask & ~kept] = 0
        part[kept & (part == 0)] = value
    return Volume(array, volume.affine)


def cleared(mask: np.ndarray, step: Step, voxel_ml: float) -> np.ndarray:
    """One organ's mask after a step; 3D, bool, cut to its box or larger."""
    if step.min_ml is not None or step.keep_largest is not None:
        pieces, count = number_pieces(mask, structure=TOUCHING)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        sizes[0] = 0
        kept = sizes > 0
        if step.min_ml is not None:
            kept &= sizes * voxel_ml >= step.min_ml * (1 - 1e-9)
        if step.keep_largest is not None:
            kept[np.argsort(-sizes, kind="stable")[step.keep_largest :]] = False
        mask = kept[pieces]
    if step.fill_holes:
        mask = np.asarray(binary_fill_holes(mask))
    return mask
