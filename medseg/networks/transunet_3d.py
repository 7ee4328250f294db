"""TransUNet for volumes: 3D convolutions, a transformer on their features, and a decoder."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.channels_last import Pointwise, Step, channels_last
from medseg.networks.layers.conv3d import CUP3D, ResidualEncoder3D
from medseg.networks.layers.grid import crop, pad_to_multiple
from medseg.networks.layers.grid_transformer import GridTransformer
from medseg.networks.layers.prior import expect_background


class TransUNet3D(nn.Module):
    """TransUNet for volumes.

    A residual network brings the volume to 1/8 or 1/16 of its size, a transformer lets these
    places look at each other, and a decoder restores the size with the help of features from the
    way down.

    Args:
        image_size: Sides of the volume in voxels, X, Y, Z, or one number for all three. Volumes
            of other sizes are taken too: learned positions are resized linearly, and sides that
            are no multiples of the strides are padded with zeros and the logits cropped.
        in_channels: Channels of the volume.
        num_classes: Channels of the logits, background included; 1 for a binary mask.
        attention: ``"dense"``, ``"windowed"``, ``"window_grid"``, ``"axial"``, ``"plane_depth"``
            or ``"block_sparse"``.
        widths: Channels at each level, full size first; the transformer stands at the last.
        strides: Step from each level to the next, a number or one along each axis; all 2 unless
            given. ``(2, 2, 1)`` keeps the slices of a thick axis.
        hidden_size: Width of a token, a multiple of ``num_heads``.
        mlp_dim: Width inside the transformer's MLPs.
        num_heads: Attention heads.
        num_layers: Transformer blocks.
        window: Most tokens of a window along each axis; 4 unless given.
        positions: ``"learned_1d"``, ``"learned_2d"`` (one embedding per axis), ``"sincos"`` or
            ``"none"``; windows have a relative bias besides.
        dropout: Share of numbers dropped in the transformer in training; attention drops none.
        deep_supervision: Whether ``train()`` gives logits of every size that the decoder passes.
        checkpointing: Whether activations are computed again in the backward pass instead of
            kept: the same gradients in less memory, for about a third more time.

    Raises:
        UsageError: If a size does not fit.

    Source:
        The design of Chen et al., TransUNet, arXiv:2102.04306, and 3D TransUNet,
        arXiv:2310.07781, without the latter's transformer decoder.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, as in TransUNet
        self,
        image_size: int | Sequence[int] = 96,
        in_channels: int = 1,
        num_classes: int = 9,
        *,
        attention: str = "dense",
        widths: Sequence[int] = (32, 64, 128, 256),
        strides: Sequence[int | Sequence[int]] | None = None,
        hidden_size: int = 256,
        mlp_dim: int = 1024,
        num_heads: int = 8,
        num_layers: int = 4,
        window: int | Sequence[int] | None = None,
        positions: str = "learned_1d",
        dropout: float = 0.1,
        deep_supervision: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        steps = _steps(strides, len(widths) - 1)
        self.in_channels, self.deep_supervision = in_channels, deep_supervision
        self.multiple = tuple(int(n) for n in np.prod(steps, axis=0))
        sides = (image_size,) * 3 if isinstance(image_size, int) else tuple(image_size)
        self.backbone = ResidualEncoder3D(
            in_channels, widths, steps, checkpointing=checkpointing
        )
        self.encoder = GridTransformer(
            [-(-side // step) for side, step in zip(sides, self.multiple, strict=True)],
            self.backbone.out_channels,
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_heads=num_heads,
            num_layers=num_layers,
            attention=attention,
            window=window,
            positions=positions,
            dropout=dropout,
            checkpointing=checkpointing,
        )
        self.decoder = CUP3D(
            hidden_size,
            self.backbone.skip_channels,
            channels=widths[-2::-1],
            scales=steps[::-1],
            checkpointing=checkpointing,
        )
        self.scales = [tuple(np.prod([(1, 1, 1), *steps[:n]], axis=0)) for n in range(len(steps))]
        count = len(steps) if deep_supervision else 1
        self.heads = nn.ModuleList(Pointwise(widths[n], num_classes) for n in range(count))
        for head in self.heads:
            expect_background(head.bias)

    def forward(self, volume: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Segment.

        Args:
            volume: Shape (B, ``in_channels``, X, Y, Z).

        Returns:
            Logits of shape (B, ``num_classes``, X, Y, Z); with deep supervision in training a
            list of them, full size first, then one for each coarser level of the decoder.

        Raises:
            ValueError: If the shape of ``volume`` does not fit.
        """
        if volume.ndim != 5 or volume.shape[1] != self.in_channels:
            raise ValueError(
                f"volume must have shape (B, {self.in_channels}, X, Y, Z), "
                f"got {tuple(volume.shape)}"
            )
        features, skips = self.backbone(channels_last(pad_to_multiple(volume, self.multiple)))
        levels = self.decoder(self.encoder(features), skips)
        size = volume.shape[2:]
        count = len(self.heads) if self.training else 1
        logits = [
            crop(head(level), [-(-side // step) for side, step in zip(size, scale, strict=True)])
            for head, level, scale in zip(self.heads, levels, self.scales, strict=False)
        ][:count]
        return logits if self.deep_supervision and self.training else logits[0]


def _steps(strides: Sequence[int | Sequence[int]] | None, count: int) -> list[Step]:
    given = [2] * count if strides is None else list(strides)
    steps = [(step,) * 3 if isinstance(step, int) else tuple(step) for step in given]
    if len(steps) != count or any(len(step) != 3 or min(step) < 1 for step in steps):
        raise UsageError(
            f"strides must be {count} steps, one fewer than widths, each a number or three, "
            f"got {strides}"
        )
    return steps  # type: ignore[return-value]
