"""What every metric asks of the masks it is given."""

from collections.abc import Sequence

import numpy as np


def check_masks(pred: np.ndarray, label: np.ndarray) -> None:
    """Refuse masks that are not bool or not of one shape.

    Raises:
        ValueError: Naming what was given.
    """
    if pred.dtype != bool or label.dtype != bool:
        raise ValueError(f"masks must be bool, got pred {pred.dtype} and label {label.dtype}")
    if pred.shape != label.shape:
        raise ValueError(
            f"pred and label must have one shape, got pred {pred.shape} and label {label.shape}"
        )


def check_spacing(shape: tuple[int, ...], spacing: Sequence[float]) -> None:
    """Refuse a spacing that does not fit the shape or is no length, and what is not 2D or 3D.

    Raises:
        ValueError: Naming what was given.
    """
    if len(spacing) != len(shape):
        raise ValueError(
            "pred, label and spacing must describe the same grid, got "
            f"pred {shape}, label {shape} and {len(spacing)} spacings"
        )
    if len(shape) not in (2, 3):
        raise ValueError(f"masks and label maps must have two or three axes, got shape {shape}")
    if not all(np.isfinite(length) and length > 0 for length in spacing):
        raise ValueError(f"spacing must be positive lengths in mm, got {tuple(spacing)}")
