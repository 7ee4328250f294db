"""The TransUNet family: a transformer on an image or its features, and a decoder of the mask.

``TransUNet`` is all of it: with a convolutional network before the transformer and skips from it
(TransUNet), without skips (R50-ViT-CUP), without the convolutional network (ViT-CUP), and with
naive upsampling in place of the decoder (ViT-None).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.cup import CUP
from medseg.networks.layers.grid import crop, pad_to_multiple
from medseg.networks.layers.prior import expect_background
from medseg.networks.layers.resnetv2 import ResNetV2
from medseg.networks.vit import PATCHES, WIDTHS, ViT, ViTSizes, grid_of, pick_sizes

DECODERS = ("CUP", "naive")
HYBRID_PATCHES = (8, 16, 32)


def _check_several(name: str, counts: Sequence[int], length: int) -> None:
    if len(counts) != length or min(counts) < 1:
        raise UsageError(f"{name} must be {length} counts of 1 or more, got {tuple(counts)}")


@dataclass(frozen=True)
class Sizes(ViTSizes):
    """The sizes of a variant, each of which TransUNet takes by name.

    ``hybrid`` says whether a convolutional network comes before the transformer.
    """

    hybrid: bool = True
    block_units: Sequence[int] = (3, 4, 9)
    width_factor: float = 1.0
    dropout: float = 0.1
    decoder_channels: Sequence[int] = (512, 256, 128, 64, 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_several("block_units", self.block_units, 3)
        _check_several("decoder_channels", self.decoder_channels, 5)
        if self.width_factor < 1 / 64:
            raise UsageError(f"width_factor must be at least 1/64, got {self.width_factor}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if self.hybrid and self.patch_size not in HYBRID_PATCHES:
            raise UsageError(
                f"patch_size must be one of {', '.join(map(str, HYBRID_PATCHES))} after a "
                f"convolutional network, got {self.patch_size}; a pure ViT takes any"
            )

    @property
    def multiple(self) -> int:
        """Pixels that the sides of an image must be multiples of, else they are padded."""
        return max(16, self.patch_size) if self.hybrid else self.patch_size

    @property
    def scales(self) -> tuple[int, ...]:
        """How much each of the decoder's blocks enlarges."""
        first = {8: 1, 32: 4 if self.hybrid else 2}.get(self.patch_size, 2)
        return (first, 2, 2, 2)


VARIANTS = {
    **{f"R50-ViT-{n}_{p}": Sizes(*WIDTHS[n], p) for n in "BLH" for p in HYBRID_PATCHES},
    **{f"ViT-{n}_{p}": Sizes(*WIDTHS[n], p, hybrid=False) for n in "BLH" for p in PATCHES},
    # for cosmic rays in exposures of the Dark Energy Camera; dropout hurt there
    "DeCAM": Sizes(384, 768, 6, 6, block_units=(2, 2, 2), dropout=0.0),
}


class TransUNet(nn.Module):
    """TransUNet for 2D images, such as axial slices.

    A convolutional network brings the image to 1/16 of its size, a transformer lets each of
    these places look at all others, and a decoder restores the size with the help of features
    from the way down.

    Args:
        image_size: Height and width of the image in pixels, or one number for both. Images of
            other sizes are taken too: their position embeddings are resized linearly, and sides
            that are no multiples of the patch are padded with zeros and the logits cropped.
        in_channels: Channels of the image. One channel is repeated to three, as in the original.
        num_classes: Channels of the logits, background included; 1 for a binary mask.
        variant: ``"R50-ViT-B_16"``: B, L or H and patch 8, 16 or 32, after a ResNet-50;
            ``"ViT-B_16"``: the same or patch 14, on the image itself; ``"DeCAM"``. They name the
            sizes below, unless given.
        num_skips: Skips the decoder takes, 0 to 3, coarsest first; a pure ViT has none.
        decoder: ``"CUP"``, or ``"naive"`` to enlarge the classes of the tokens bilinearly.
        patch_size: Side of a patch of the image, in pixels.
        hidden_size: Width of a token, a multiple of ``num_heads``.
        mlp_dim: Width inside the transformer's MLPs.
        num_heads: Attention heads.
        num_layers: Transformer blocks.
        block_units: Residual units in each of the three blocks of the convolutional network.
        width_factor: Multiplies the widths of the convolutional network.
        dropout: Share of numbers dropped in the transformer in training; attention drops none.
        decoder_channels: Width of the decoder's first convolution and of its four blocks.
        positions: Kind of position embedding, as in :class:`medseg.networks.vit.ViT`.
        positions_at: Where it acts, as there.

    Raises:
        UsageError: If a size does not fit.

    Source:
        Chen et al., TransUNet, arXiv:2102.04306; the same function as Beckschen/TransUNet for
        the same weights, but for what crashes there (sizes that are no multiples of the patch,
        images that are not square, skips with patch 32, patch 8 after the ResNet) and for patch
        32 without it, whose logits are given at half the image's size there and are enlarged
        bilinearly here.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, cited by these names
        self,
        image_size: int | Sequence[int] = 224,
        in_channels: int = 1,
        num_classes: int = 9,
        variant: str = "R50-ViT-B_16",
        num_skips: int = 3,
        *,
        decoder: str = "CUP",
        patch_size: int | None = None,
        hidden_size: int | None = None,
        mlp_dim: int | None = None,
        num_heads: int | None = None,
        num_layers: int | None = None,
        block_units: Sequence[int] | None = None,
        width_factor: float | None = None,
        dropout: float | None = None,
        decoder_channels: Sequence[int] | None = None,
        positions: str = "learned_1d",
        positions_at: str | None = None,
    ) -> None:
        super().__init__()
        sizes = pick_sizes(VARIANTS, variant, {
            "patch_size": patch_size, "hidden_size": hidden_size, "mlp_dim": mlp_dim,
            "num_heads": num_heads, "num_layers": num_layers, "block_units": block_units,
            "width_factor": width_factor, "dropout": dropout,
            "decoder_channels": decoder_channels,
        })  # fmt: skip
        _check_choices(in_channels, num_classes, num_skips, decoder)
        self.in_channels, self.multiple = in_channels, sizes.multiple
        self.num_skips = num_skips if sizes.hybrid and decoder == "CUP" else 0
        stem = 3 if in_channels == 1 else in_channels
        self.backbone = _backbone(stem, sizes) if sizes.hybrid else None
        self.encoder = _encoder(image_size, stem, sizes, positions, positions_at)
        self.decoder = self._decoder(sizes) if decoder == "CUP" else None
        if self.decoder is None:
            self.head = nn.Conv2d(sizes.hidden_size, num_classes, 1)
        else:
            self.head = nn.Conv2d(sizes.decoder_channels[-1], num_classes, 3, padding=1)
        expect_background(self.head.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Segment.

        Args:
            image: Shape (B, ``in_channels``, H, W).

        Returns:
            Logits of shape (B, ``num_classes``, H, W).

        Raises:
            ValueError: If the shape of ``image`` does not fit.
        """
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"image must have shape (B, {self.in_channels}, H, W), got {tuple(image.shape)}"
            )
        padded = pad_to_multiple(image, self.multiple)
        features, skips = (padded, []) if self.backbone is None else self.backbone(padded)
        features = self.encoder.feature_map(features)
        if self.decoder is not None:
            features = self.decoder(features, skips[: self.num_skips])
        logits: torch.Tensor = self.head(features)
        if logits.shape[2:] != padded.shape[2:]:  # naive upsampling, or a patch of 14 or 32
            logits = F.interpolate(logits, padded.shape[2:], mode="bilinear", align_corners=False)
        return crop(logits, image.shape[2:])

    def _decoder(self, sizes: Sizes) -> CUP:
        skips = [] if self.backbone is None else list(self.backbone.skip_channels)
        skips = [*skips[: self.num_skips], 0, 0, 0, 0][:4]
        return CUP(sizes.hidden_size, skips, channels=sizes.decoder_channels, scales=sizes.scales)


def _backbone(stem: int, sizes: Sizes) -> ResNetV2:
    out_stride = min(16, sizes.patch_size)
    return ResNetV2(stem, sizes.block_units, width_factor=sizes.width_factor, out_stride=out_stride)


def _encoder(
    image_size: int | Sequence[int],
    stem: int,
    sizes: Sizes,
    positions: str,
    positions_at: str | None,
) -> ViT:
    """The transformer: on the image, or on features of which one is a patch (or 2 × 2 are)."""
    grid = grid_of(image_size, sizes.patch_size)
    if len(grid) != 2:
        raise UsageError(f"image_size must be one or two sides, got {image_size}")
    patch_size = max(1, sizes.patch_size // 16) if sizes.hybrid else sizes.patch_size
    return ViT(
        [side * patch_size for side in grid],
        int(16 * int(64 * sizes.width_factor)) if sizes.hybrid else stem,
        num_classes=0,
        patch_size=patch_size,
        hidden_size=sizes.hidden_size,
        mlp_dim=sizes.mlp_dim,
        num_heads=sizes.num_heads,
        num_layers=sizes.num_layers,
        class_token=False,
        positions=positions,
        positions_at=positions_at,
        dropout=sizes.dropout,
    )


def _check_choices(in_channels: int, num_classes: int, num_skips: int, decoder: str) -> None:
    if in_channels < 1 or num_classes < 1:
        raise UsageError(
            f"in_channels and num_classes must be 1 or more, got {in_channels} and {num_classes}"
        )
    if num_skips not in range(4):
        raise UsageError(f"num_skips must be 0 to 3, got {num_skips}")
    if decoder not in DECODERS:
        raise UsageError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
