"""Cross-entropy and Dice over classes that exclude each other, as TransUNet is trained with."""

import torch
import torch.nn.functional as F
from torch import nn

from medseg.losses.targets import Targets, check_weights, targets


class CEDiceLoss(nn.Module):
    """Weighted sum of cross-entropy (CE) and Dice loss, both on softmax probabilities.

    Dice is ``1 - (2 Σpy + smooth) / (Σp² + Σy² + smooth)``, sums over the whole batch, then the
    mean over all classes, background included. A class absent from the batch counts as in the
    original: near 1, until its probabilities vanish.

    Computed in float32 at least, also under autocast.

    Args:
        ce_weight: Weight of the cross-entropy.
        dice_weight: Weight of the Dice loss.
        ignore_index: Label value of voxels that count in neither term, or ``None``.
        smooth: Added above and below the fraction, in voxels.

    Raises:
        UsageError: If a weight or ``smooth`` is negative.

    Source:
        Chen et al., TransUNet, arXiv:2102.04306; the definition of Beckschen/TransUNet.
    """

    def __init__(
        self,
        ce_weight: float = 0.5,
        dice_weight: float = 0.5,
        *,
        ignore_index: int | None = None,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__()
        check_weights(ce_weight=ce_weight, dice_weight=dice_weight, smooth=smooth)
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.ignore_index = ignore_index
        self.smooth = smooth

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Compare.

        Args:
            logits: Shape (B, C, *spatial) in 2D or 3D, C at least 2, background first.
            label: Class indices, shape (B, *spatial).

        Returns:
            The loss, a scalar; 0 if every voxel is ignored.

        Raises:
            ValueError: If shapes, data types or the values of ``label`` do not fit.
        """
        if logits.ndim > 1 and logits.shape[1] < 2:
            raise ValueError(
                f"logits must have two classes or more, got shape {tuple(logits.shape)}; "
                "for one binary class use BCEDiceLoss"
            )
        pair = targets(logits, label, self.ignore_index)
        with torch.autocast(logits.device.type, enabled=False):
            return self.ce_weight * self._ce(pair) + self.dice_weight * self._dice(pair)

    def _ce(self, pair: Targets) -> torch.Tensor:
        each = -F.log_softmax(pair.logits, dim=1) * pair.masks
        return pair.total(each).sum() / pair.count

    def _dice(self, pair: Targets) -> torch.Tensor:
        probabilities = torch.softmax(pair.logits, dim=1)
        overlap = pair.total(probabilities * pair.masks)  # (C,)
        both = pair.total(probabilities**2) + pair.total(pair.masks)
        loss = 1 - (2 * overlap + self.smooth) / (both + self.smooth).clamp(min=1e-12)
        any_valid = (pair.valid.sum() > 0).to(loss.dtype)
        return loss.mean() * any_valid
