"""Where networks for volumes begin and end: shapes, steps, and logits of one or several sizes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.channels_last import Pointwise, Step, channels_last
from medseg.networks.layers.grid import Grid, crop, pad_to_multiple
from medseg.networks.layers.prior import expect_background

Logits = torch.Tensor | list[torch.Tensor]


class VolumeHeads(nn.Module):
    """From the levels of a decoder to logits.

    Args:
        widths: Channels of each level, full size first.
        num_classes: Channels of the logits.
        steps: Step along each axis from each level to the next.
        deep_supervision: Whether each level has a head, for training; else only the first.
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int,
        *,
        steps: Sequence[Step],
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise UsageError(f"num_classes must be 1 or more, got {num_classes}")
        self.deep_supervision = deep_supervision
        self.scales = [total_step(steps[:level]) for level in range(len(widths))]
        self.heads = nn.ModuleList(
            Pointwise(width, num_classes) for width in (widths if deep_supervision else widths[:1])
        )
        for head in self.heads:
            expect_background(head.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[torch.Tensor], size: Sequence[int]) -> Logits:
        """Logits of a volume of ``size``: a list, full size first, if supervised deeply."""
        count = len(self.heads) if self.training else 1
        logits = [
            crop(head(level), [-(-side // step) for side, step in zip(size, scale, strict=True)])
            for head, level, scale in zip(
                list(self.heads)[:count], levels[:count], self.scales[:count], strict=True
            )
        ]
        return logits if self.deep_supervision and self.training else logits[0]


def prepare_volume(volume: torch.Tensor, in_channels: int, multiple: Sequence[int]) -> torch.Tensor:
    """A volume padded with zeros to multiples, channels last in memory.

    Raises:
        ValueError: If its shape is not (B, ``in_channels``, X, Y, Z).
    """
    if volume.ndim != 5 or volume.shape[1] != in_channels:
        raise ValueError(
            f"volume must have shape (B, {in_channels}, X, Y, Z), got {tuple(volume.shape)}"
        )
    return channels_last(pad_to_multiple(volume, multiple))


def three(name: str, value: int | Sequence[int], least: int = 1) -> Step:
    """One number for each axis of a volume, or three.

    Raises:
        UsageError: If they are not three, or one is too small.
    """
    found = (value,) * 3 if isinstance(value, int) else tuple(value)
    if len(found) != 3 or min(found) < least:
        raise UsageError(f"{name} must be one number or three of {least} or more, got {value}")
    return found


def steps_of(strides: Sequence[int | Sequence[int]] | None, widths: Sequence[int]) -> list[Step]:
    """The step from each level to the next, 2 unless given.

    Raises:
        UsageError: If they are not one fewer than the widths, or a width is no number of channels.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise UsageError(f"widths must be two or more numbers of 1 or more, got {tuple(widths)}")
    given = [2] * (len(widths) - 1) if strides is None else list(strides)
    if len(given) != len(widths) - 1:
        raise UsageError(
            f"strides must be {len(widths) - 1} for {len(widths)} widths, got {len(given)}"
        )
    return [three("a stride", step) for step in given]


def total_step(steps: Sequence[Step]) -> Step:
    """The product of steps along each axis."""
    x, y, z = np.prod([(1, 1, 1), *steps], axis=0).tolist()
    return x, y, z


def grid_at(size: Sequence[int], step: Step) -> Grid:
    """How many steps cover each side."""
    return tuple(-(-side // one) for side, one in zip(size, step, strict=True))
