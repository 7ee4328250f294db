"""What losses have in common: class indices as one mask per class, checked and in float32."""

from dataclasses import dataclass

import torch

from medseg.errors import UsageError


@dataclass(frozen=True)
class Targets:
    """Logits and labels, ready to be compared voxel by voxel and class by class.

    Attributes:
        logits: Shape (B, C, *spatial), float32 or wider.
        masks: One for each channel of the logits, same shape, 1 inside and 0 outside; a single
            channel has the mask of class 1. All zero where a voxel is ignored.
        valid: 0 where a voxel is ignored, else 1; shape (B, 1, *spatial).
    """

    logits: torch.Tensor
    masks: torch.Tensor
    valid: torch.Tensor

    @property
    def count(self) -> torch.Tensor:
        """Voxels that are not ignored, but 1 if there are none, so that one may divide by it."""
        return self.valid.sum().clamp(min=1)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of (B, C, *spatial) over batch and space, ignored voxels left out; shape (C,)."""
        return (values * self.valid).transpose(0, 1).flatten(1).sum(1)


def targets(logits: torch.Tensor, label: torch.Tensor, ignore_index: int | None) -> Targets:
    """Pair logits (B, C, *spatial) with class indices (B, *spatial).

    Raises:
        ValueError: If shapes, data types or the values of ``label`` do not fit.
    """
    _check_shapes(logits, label)
    num_classes = max(2, logits.shape[1])
    valid = torch.ones_like(label) if ignore_index is None else (label != ignore_index).long()
    _check_values(label * valid, num_classes)

    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    first = 1 if logits.shape[1] == 1 else 0
    classes = torch.arange(first, num_classes, device=label.device)
    classes = classes.view(1, -1, *[1] * (label.ndim - 1))  # (1, C, 1, ...)
    valid = valid.unsqueeze(1).to(wide.dtype)
    return Targets(wide, (label.unsqueeze(1) == classes) * valid, valid)


def check_weights(**weights: float) -> None:
    """Refuse weights or a smoothing that are negative.

    Raises:
        UsageError: Naming the one that is.
    """
    for name, weight in weights.items():
        if weight < 0:
            raise UsageError(f"{name} must be 0 or more, got {weight}")


def _check_shapes(logits: torch.Tensor, label: torch.Tensor) -> None:
    if logits.ndim < 3 or logits.shape[:1] + logits.shape[2:] != label.shape:
        raise ValueError(
            "logits must have shape (B, C, *spatial) and label (B, *spatial), got "
            f"{tuple(logits.shape)} and {tuple(label.shape)}"
        )
    if not logits.is_floating_point() or label.is_floating_point() or label.dtype == torch.bool:
        raise ValueError(
            "logits must be floating point and label class indices, got "
            f"{logits.dtype} and {label.dtype}"
        )


def _check_values(label: torch.Tensor, num_classes: int) -> None:
    if label.numel() == 0:
        raise ValueError(f"label must hold at least one voxel, got shape {tuple(label.shape)}")
    low, high = (int(value) for value in label.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"label must hold class indices 0 to {num_classes - 1}, got values {low} to {high}"
        )
