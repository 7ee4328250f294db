"""A transformer within regions of a volume, and one over the regions."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.channels_last import Step, channels_last
from medseg.networks.layers.checkpointing import run
from medseg.networks.layers.conv3d import CUP3D
from medseg.networks.layers.grid import Grid
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
from medseg.networks.vit import ViT


class HierarchicalViT3D(nn.Module):
    """Local attention inside regions, global attention over regions, and a decoder to voxels.

    A ViT looks at each region by itself and sums it up in its class token; a second transformer
    lets these tokens look at each other; every patch then gets what its region learned, and a
    decoder brings the patches back to voxels. Attention costs N times the tokens of a region and,
    besides, the square of the few regions.

    Args:
        image_size: Sides of the volume in voxels, or one number for all three; others are taken
            too, padded with zeros to whole regions.
        in_channels: Channels of the volume.
        num_classes: Channels of the logits, background included; 1 for a binary mask.
        region_size: Sides of a region in voxels, multiples of the patch.
        widths: Channels of the decoder at each level, full size first.
        strides: How much each level of the decoder enlarges, finest first; their product is the
            size of a patch. All 2 unless given, so that two widths make patches of 4.
        hidden_size: Width of a token of both transformers, a multiple of ``num_heads``.
        mlp_dim: Width inside their MLPs.
        num_heads: Attention heads.
        num_layers: Blocks of the local and of the global transformer.
        attention: Kind of the global one's, as in
            :class:`medseg.networks.transunet_3d.TransUNet3D`.
        window: Most regions of a window along each axis.
        dropout: Share of numbers dropped in the transformers in training.
        deep_supervision: Whether ``train()`` gives logits of every size that the decoder passes.
        checkpointing: Whether activations are computed again in the backward pass.

    Raises:
        UsageError: If a size does not fit.

    Source:
        Chen et al., Hierarchical Image Pyramid Transformer, arXiv:2206.02647, of which it has two
        levels, trained together and with a decoder.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, as in TransUNet
        self,
        image_size: int | Sequence[int] = 96,
        in_channels: int = 1,
        num_classes: int = 9,
        *,
        region_size: int | Sequence[int] = 16,
        widths: Sequence[int] = (32, 64),
        strides: Sequence[int | Sequence[int]] | None = None,
        hidden_size: int = 192,
        mlp_dim: int = 768,
        num_heads: int = 6,
        num_layers: Sequence[int] = (4, 2),
        attention: str = "dense",
        window: int | Sequence[int] | None = None,
        dropout: float = 0.1,
        deep_supervision: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        steps = steps_of(strides, [*widths, hidden_size])
        self.in_channels, self.checkpointing = in_channels, checkpointing
        self.region_size = three("region_size", region_size)
        patch = _check_patch(self.region_size, total_step(steps), num_layers)
        self.patch_size, per_region = patch, grid_at(self.region_size, patch)
        self.local = ViT(
            per_region, in_channels * math.prod(patch), 0, patch_size=1,
            hidden_size=hidden_size, mlp_dim=mlp_dim, num_heads=num_heads,
            num_layers=num_layers[0], dropout=dropout,
        )  # fmt: skip
        self.encoder = GridTransformer(
            grid_at(three("image_size", image_size), self.region_size),
            hidden_size,
            hidden_size=hidden_size, mlp_dim=mlp_dim, num_heads=num_heads,
            num_layers=num_layers[1], attention=attention, window=window, dropout=dropout,
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
        whole = prepare_volume(volume, self.in_channels, self.region_size)
        regions = grid_at(whole.shape[2:], self.region_size)
        tokens = run(self.local.encode, self._patches(whole, regions), again=self.checkpointing)
        tokens = tokens.reshape(-1, *regions, *tokens.shape[1:])  # (B, *regions, 1 + N, C)
        overall = self.encoder(tokens[..., 0, :].movedim(-1, 1)).movedim(1, -1)
        tokens = tokens[..., 1:, :] + overall[..., None, :]  # (B, *regions, N, C)
        logits: Logits = self.head(self.decoder(self._in_place(tokens)), volume.shape[2:])
        return logits

    def _patches(self, whole: torch.Tensor, regions: Grid) -> torch.Tensor:
        """The voxels of each patch as channels, region by region: (B regions, C voxels, x, y, z).

        x, y and z are the patches along each axis of a region.
        """
        pairs = zip(self.local.grid, self.patch_size, strict=True)
        sizes = [n for count, pair in zip(regions, pairs, strict=True) for n in (count, *pair)]
        cut = whole.reshape(*whole.shape[:2], *sizes)
        patches = cut.permute(0, 2, 5, 8, 1, 4, 7, 10, 3, 6, 9)  # (B, *regions, C, *patch, x, y, z)
        return patches.flatten(4, 7).flatten(0, 3)

    def _in_place(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of regions, (B, *regions, N, C), at their places, (B, C, *grid)."""
        split = tokens.reshape(*tokens.shape[:4], *self.local.grid, -1)
        places = split.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return channels_last(places.flatten(6, 7).flatten(4, 5).flatten(2, 3))


def _check_patch(region: Step, patch: Step, num_layers: Sequence[int]) -> Step:
    if any(side % one for side, one in zip(region, patch, strict=True)):
        raise UsageError(
            f"region_size must be a multiple of the patch along each axis, got {region} for "
            f"patches of {patch}, the product of strides"
        )
    if len(num_layers) != 2 or min(num_layers) < 1:
        raise UsageError(
            "num_layers must be blocks of the local and of the global transformer, "
            f"got {tuple(num_layers)}"
        )
    return patch
