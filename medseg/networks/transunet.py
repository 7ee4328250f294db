"""TransUNet: a transformer over the features of a residual network, and a U-shaped decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.cup import CUP
from medseg.networks.layers.grid import pad_to_multiple, resize_positions
from medseg.networks.layers.resnetv2 import ResNetV2
from medseg.networks.layers.transformer import EPS, Block

PATCH = 16  # pixels of the image to a token, each way
PRIOR_LOGIT = 3.0


def _check_several(name: str, counts: Sequence[int], length: int) -> None:
    if len(counts) != length or min(counts) < 1:
        raise UsageError(f"{name} must be {length} counts of 1 or more, got {tuple(counts)}")


@dataclass(frozen=True)
class Sizes:
    """The sizes of a variant, each of which TransUNet takes by name."""

    hidden_size: int
    mlp_dim: int
    num_heads: int
    num_layers: int
    block_units: Sequence[int] = (3, 4, 9)
    width_factor: float = 1.0
    dropout: float = 0.1
    decoder_channels: Sequence[int] = (512, 256, 128, 64, 16)

    def __post_init__(self) -> None:
        for name in ("hidden_size", "mlp_dim", "num_heads", "num_layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise UsageError(
                "hidden_size must be a multiple of num_heads, got "
                f"{self.hidden_size} and {self.num_heads}"
            )
        _check_several("block_units", self.block_units, 3)
        _check_several("decoder_channels", self.decoder_channels, 5)
        if self.width_factor < 1 / 64:
            raise UsageError(f"width_factor must be at least 1/64, got {self.width_factor}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, got {self.dropout}")


VARIANTS = {
    "R50-ViT-B_16": Sizes(hidden_size=768, mlp_dim=3072, num_heads=12, num_layers=12),
    "R50-ViT-L_16": Sizes(hidden_size=1024, mlp_dim=4096, num_heads=16, num_layers=24),
    # for cosmic rays in exposures of the Dark Energy Camera; dropout hurt there
    "DeCAM": Sizes(
        hidden_size=384, mlp_dim=768, num_heads=6, num_layers=6, block_units=(2, 2, 2), dropout=0.0
    ),
}


class Encoder(nn.Module):
    """The transformer: features in, features in which every place has looked at all others.

    Args:
        in_channels: Channels of the features.
        grid: Rows and columns of tokens that the position embeddings are learned for.
        sizes: Width, depth and dropout.
    """

    def __init__(self, in_channels: int, grid: tuple[int, int], *, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.grid = grid
        self.patch_embed = nn.Conv2d(in_channels, width, 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid[0] * grid[1], width))
        self.drop = nn.Dropout(sizes.dropout)
        self.blocks = nn.ModuleList(
            Block(width, sizes.num_heads, mlp_dim=sizes.mlp_dim, dropout=sizes.dropout)
            for _ in range(sizes.num_layers)
        )
        self.norm = nn.LayerNorm(width, eps=EPS)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Encode; shape (B, C, h, w) to (B, hidden_size, h, w), each place a token."""
        patches = self.patch_embed(features)  # (B, hidden_size, h, w)
        height, width = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (B, N, hidden_size)
        tokens = self.drop(tokens + resize_positions(self.pos_embed, self.grid, (height, width)))
        for block in self.blocks:
            tokens = block(tokens)
        encoded: torch.Tensor = self.norm(tokens).transpose(1, 2)
        return encoded.reshape(len(encoded), -1, height, width)


class TransUNet(nn.Module):
    """TransUNet for 2D images, such as axial slices.

    A convolutional network brings the image to 1/16 of its size, a transformer lets each of
    these places look at all others, and a decoder restores the size with the help of features
    from the way down.

    Args:
        image_size: Height and width of the image in pixels, or one number for both. Images of
            other sizes are taken too: their position embeddings are resized bilinearly, and sides
            that are no multiples of 16 are padded with zeros and the logits cropped.
        in_channels: Channels of the image. One channel is repeated to three, as in the original.
        num_classes: Channels of the logits, background included; 1 for a binary mask.
        variant: ``"R50-ViT-B_16"``, ``"R50-ViT-L_16"`` or ``"DeCAM"``: the sizes below, unless
            given.
        num_skips: Skips the decoder takes, 0 to 3, coarsest first.
        hidden_size: Width of a token, a multiple of ``num_heads``.
        mlp_dim: Width inside the transformer's MLPs.
        num_heads: Attention heads.
        num_layers: Transformer blocks.
        block_units: Residual units in each of the three blocks of the convolutional network.
        width_factor: Multiplies the widths of the convolutional network.
        dropout: Share of numbers dropped in the transformer in training.
        decoder_channels: Width of the decoder's first convolution and of its four blocks.

    Raises:
        UsageError: If a size does not fit.

    Source:
        Chen et al., TransUNet, arXiv:2102.04306; the same function as Beckschen/TransUNet for
        the same weights.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, cited by these names
        self,
        image_size: int | Sequence[int] = 224,
        in_channels: int = 1,
        num_classes: int = 9,
        variant: str = "R50-ViT-B_16",
        num_skips: int = 3,
        *,
        hidden_size: int | None = None,
        mlp_dim: int | None = None,
        num_heads: int | None = None,
        num_layers: int | None = None,
        block_units: Sequence[int] | None = None,
        width_factor: float | None = None,
        dropout: float | None = None,
        decoder_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        given = {
            "hidden_size": hidden_size,
            "mlp_dim": mlp_dim,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "block_units": block_units,
            "width_factor": width_factor,
            "dropout": dropout,
            "decoder_channels": decoder_channels,
        }
        sizes = _sizes(variant, given)
        _check_counts(in_channels, num_classes, num_skips)
        self.in_channels = in_channels
        stem = 3 if in_channels == 1 else in_channels
        self.backbone = ResNetV2(stem, sizes.block_units, width_factor=sizes.width_factor)
        self.encoder = Encoder(self.backbone.out_channels, _grid(image_size), sizes=sizes)
        skips = [*self.backbone.skip_channels[:num_skips], 0, 0, 0, 0][:4]
        self.decoder = CUP(sizes.hidden_size, skips, channels=sizes.decoder_channels)
        self.head = nn.Conv2d(sizes.decoder_channels[-1], num_classes, 3, padding=1)
        _expect_background(self.head)
        self.num_skips = num_skips

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
        height, width = image.shape[2:]
        features, skips = self.backbone(pad_to_multiple(image, PATCH))
        features = self.decoder(self.encoder(features), skips[: self.num_skips])
        logits: torch.Tensor = self.head(features)
        return logits[:, :, :height, :width]


def _sizes(variant: str, given: Mapping[str, Any]) -> Sizes:
    """The sizes of ``variant``, with those that are given in their place."""
    if variant not in VARIANTS:
        raise UsageError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    return replace(VARIANTS[variant], **{n: size for n, size in given.items() if size is not None})


def _expect_background(head: nn.Conv2d) -> None:
    """Start from the guess that a pixel is background, with a probability of about 0.95.

    From zero, where every organ has even odds, BCE first drives all of them to nothing, and small
    organs take long to come back.

    Source:
        The prior of RetinaNet, Lin et al., arXiv:1708.02002, section 3.3.
    """
    if head.bias is None:
        return
    nn.init.constant_(head.bias, -PRIOR_LOGIT)
    if head.out_channels > 1:
        nn.init.constant_(head.bias[:1], PRIOR_LOGIT)


def _check_counts(in_channels: int, num_classes: int, num_skips: int) -> None:
    if in_channels < 1 or num_classes < 1:
        raise UsageError(
            f"in_channels and num_classes must be 1 or more, got {in_channels} and {num_classes}"
        )
    if num_skips not in range(4):
        raise UsageError(f"num_skips must be 0 to 3, got {num_skips}")


def _grid(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Rows and columns of tokens."""
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or min(sides) < PATCH:
        raise UsageError(f"image_size must be one or two sides of {PATCH} or more, got {sides}")
    return -(-sides[0] // PATCH), -(-sides[1] // PATCH)
