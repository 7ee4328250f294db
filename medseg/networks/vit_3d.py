"""ViT and cascaded upsampler for volumes, without a convolution before the transformer."""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.networks.layers.conv3d import CUP3D
from medseg.networks.layers.grid_transformer import GridTransformer
from medseg.networks.layers.volume_heads import (
    Logits,
    VolumeHeads,
    grid_at,
    prepare_volume,
    steps_of,
    three,
    total_step,
)


class ViTCUP3D(nn.Module):
    """Patches of the volume as tokens, a transformer, and a decoder without skips.

    Args:
        image_size: Sides of the volume in voxels, or one number for all three; others are taken
            too, as by :class:`medseg.networks.transunet_3d.TransUNet3D`.
        in_channels: Channels of the volume.
        num_classes: Channels of the logits, background included; 1 for a binary mask.
        attention: As there, and so are the following unless described.
        widths: Channels of the decoder at each level, full size first.
        strides: How much each level of the decoder enlarges, finest first; their product is the
            size of a patch. All 2 unless given, so that three widths make patches of 8.
        hidden_size: Width of a token, a multiple of ``num_heads``.
        mlp_dim: Width inside the transformer's MLPs.
        num_heads: Attention heads.
        num_layers: Transformer blocks.
        window: Most tokens of a window along each axis.
        positions: Kind of position embedding.
        dropout: Share of numbers dropped in the transformer in training.
        deep_supervision: Whether ``train()`` gives logits of every size that the decoder passes.
        checkpointing: Whether activations are computed again in the backward pass.

    Raises:
        UsageError: If a size does not fit.

    Source:
        ViT-CUP of Chen et al., TransUNet, arXiv:2102.04306, in 3D.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, as in TransUNet
        self,
        image_size: int | Sequence[int] = 96,
        in_channels: int = 1,
        num_classes: int = 9,
        *,
        attention: str = "dense",
        widths: Sequence[int] = (32, 64, 128),
        strides: Sequence[int | Sequence[int]] | None = None,
        hidden_size: int = 384,
        mlp_dim: int = 1536,
        num_heads: int = 6,
        num_layers: int = 8,
        window: int | Sequence[int] | None = None,
        positions: str = "learned_1d",
        dropout: float = 0.1,
        deep_supervision: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        steps = steps_of(strides, [*widths, hidden_size])
        self.in_channels, self.patch_size = in_channels, total_step(steps)
        self.encoder = GridTransformer(
            grid_at(three("image_size", image_size), self.patch_size),
            in_channels,
            patch_size=self.patch_size,
            hidden_size=hidden_size, mlp_dim=mlp_dim, num_heads=num_heads, num_layers=num_layers,
            attention=attention, window=window, positions=positions, dropout=dropout,
            checkpointing=checkpointing,
        )  # fmt: skip
        self.decoder = CUP3D(
            hidden_size,
            [0] * len(widths),
            channels=widths[::-1],
            scales=steps[::-1],
            checkpointing=checkpointing,
        )
        self.head = VolumeHeads(widths, num_classes, steps=steps, deep_supervision=deep_supervision)

    def forward(self, volume: torch.Tensor) -> Logits:
        """Segment; shapes as of :meth:`medseg.networks.transunet_3d.TransUNet3D.forward`.

        Raises:
            ValueError: If the shape of ``volume`` does not fit.
        """
        features = self.encoder(prepare_volume(volume, self.in_channels, self.patch_size))
        logits: Logits = self.head(self.decoder(features), volume.shape[2:])
        return logits
