"""TransUNet for volumes: 3D convolutions, a transformer on their features, and a decoder."""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.channels_last import Step
from medseg.networks.layers.conv3d import CUP3D, ResidualEncoder3D
from medseg.networks.layers.grid_transformer import GridTransformer
from medseg.networks.layers.resnetv2_3d import ResNetV23D
from medseg.networks.layers.volume_heads import (
    Logits,
    VolumeHeads,
    grid_at,
    prepare_volume,
    steps_of,
    three,
    total_step,
)

ENCODERS = ("plain", "r50")


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
        encoder: ``"plain"``, a residual block at each level; or ``"r50"``, the ResNet-50 of the
            2D TransUNet, whose weights go in by
            :func:`medseg.networks.pretrained.load_pretrained`. One channel is then taken for
            three, and there is no skip at full size.
        widths: Channels at each level, full size first; the transformer stands at the last. With
            ``"r50"`` five, of the decoder alone.
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
        encoder: str = "plain",
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
        steps = steps_of(strides, widths)
        self.in_channels, self.multiple = in_channels, total_step(steps)
        self.backbone = _backbone(encoder, in_channels, widths, steps, checkpointing)
        self.encoder = GridTransformer(
            grid_at(three("image_size", image_size), self.multiple),
            self.backbone.out_channels,
            hidden_size=hidden_size, mlp_dim=mlp_dim, num_heads=num_heads, num_layers=num_layers,
            attention=attention, window=window, positions=positions, dropout=dropout,
            checkpointing=checkpointing,
        )  # fmt: skip
        self.decoder = CUP3D(
            hidden_size,
            self.backbone.skip_channels,
            channels=widths[-2::-1],
            scales=steps[::-1],
            checkpointing=checkpointing,
        )
        self.head = VolumeHeads(
            widths[:-1], num_classes, steps=steps, deep_supervision=deep_supervision
        )

    def forward(self, volume: torch.Tensor) -> Logits:
        """Segment.

        Args:
            volume: Shape (B, ``in_channels``, X, Y, Z).

        Returns:
            Logits of shape (B, ``num_classes``, X, Y, Z); with deep supervision in training a
            list of them, full size first, then one for each coarser level of the decoder.

        Raises:
            ValueError: If the shape of ``volume`` does not fit.
        """
        features, skips = self.backbone(prepare_volume(volume, self.in_channels, self.multiple))
        levels = self.decoder(self.encoder(features), skips)
        logits: Logits = self.head(levels, volume.shape[2:])
        return logits


def _backbone(
    encoder: str,
    in_channels: int,
    widths: Sequence[int],
    steps: Sequence[Step],
    checkpointing: bool,
) -> ResidualEncoder3D | ResNetV23D:
    if encoder not in ENCODERS:
        raise UsageError(f"encoder must be one of {', '.join(ENCODERS)}, got {encoder!r}")
    if in_channels < 1:
        raise UsageError(f"in_channels must be 1 or more, got {in_channels}")
    if encoder == "plain":
        return ResidualEncoder3D(in_channels, widths, steps, checkpointing=checkpointing)
    stem = 3 if in_channels == 1 else in_channels
    return ResNetV23D(stem, strides=steps, checkpointing=checkpointing)
