"""Binary cross-entropy and Dice over classes that do not exclude each other."""

import torch
import torch.nn.functional as F
from torch import nn

from medseg.losses.targets import Targets, check_weights, targets


class BCEDiceLoss(nn.Module):
    """Weighted sum of binary cross-entropy (BCE) and Dice loss, both on sigmoid probabilities.

    Each class is a mask of its own. BCE is the mean over voxels and over all classes, background
    included. Dice is ``1 - (2 Σpy + smooth) / (Σp + Σy + smooth)``, sums over the whole batch,
    then the mean over the classes **present in the batch**: an absent class has no overlap to
    improve, and would add a constant near 1; BCE alone holds its false positives down.

    Computed in float32 at least, also under autocast.

    Args:
        bce_weight: Weight of the BCE; the DeCAM study has 0.5 and 0.1.
        dice_weight: Weight of the Dice loss; there 0.5 and 0.9.
        include_background: Whether class 0 counts in Dice. One-channel logits have no class 0.
        ignore_index: Label value of voxels that count in neither term, or ``None``.
        smooth: Added above and below the fraction, in voxels.

    Raises:
        UsageError: If a weight or ``smooth`` is negative.
    """

    def __init__(
        self,
        bce_weight: float = 0.5,
        dice_weight: float = 0.5,
        *,
        include_background: bool = False,
        ignore_index: int | None = None,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__()
        check_weights(bce_weight=bce_weight, dice_weight=dice_weight, smooth=smooth)
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.include_background = include_background
        self.ignore_index = ignore_index
        self.smooth = smooth

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Compare.

        Args:
            logits: Shape (B, C, *spatial) in 2D or 3D, for C classes with background as the
                first; or (B, 1, *spatial) for one binary class.
            label: Class indices, shape (B, *spatial); 0 and 1 for one binary class.

        Returns:
            The loss, a scalar; 0 if every voxel is ignored.

        Raises:
            ValueError: If shapes, data types or the values of ``label`` do not fit.
        """
        pair = targets(logits, label, self.ignore_index)
        with torch.autocast(logits.device.type, enabled=False):
            return self.bce_weight * self._bce(pair) + self.dice_weight * self._dice(pair)

    def _bce(self, pair: Targets) -> torch.Tensor:
        each = F.binary_cross_entropy_with_logits(pair.logits, pair.masks, reduction="none")
        return pair.total(each).mean() / pair.count

    def _dice(self, pair: Targets) -> torch.Tensor:
        probabilities = torch.sigmoid(pair.logits)
        overlap = pair.total(probabilities * pair.masks)  # (C,)
        size = pair.total(pair.masks)
        both = pair.total(probabilities) + size
        loss = 1 - (2 * overlap + self.smooth) / (both + self.smooth).clamp(min=1e-12)
        present = (size > 0).to(loss.dtype)
        if len(size) > 1 and not self.include_background:
            present = present * (torch.arange(len(size), device=size.device) > 0)
        return (loss * present).sum() / present.sum().clamp(min=1)
