"""Segmenter: a ViT, and a decoder that gives each patch its classes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.grid import crop, pad_to_multiple
from medseg.networks.layers.prior import expect_background
from medseg.networks.layers.transformer import Block
from medseg.networks.vit import ViT

NORM_EPS = 1e-5
HEAD_WIDTH = 64  # of the mask transformer's attention heads
# A class's normalised score lies within sqrt(K - 1) of its bias: at a scale of 1, as published for
# a softmax, BCE could hardly be sure of anything, and no organ would overcome a strong prior.
NORM_SCALE, NORM_PRIOR = 3.0, 1.0
DECODERS = ("mask", "linear")


class MaskTransformer(nn.Module):
    """One learned token per class goes through blocks together with the patches.

    Args:
        channels: Width C of a token.
        num_classes: Classes K.
        num_layers: Blocks.
        num_heads: Attention heads.
        dropout: Share of numbers dropped in the blocks' MLPs in training.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        num_layers: int = 2,
        num_heads: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.proj_dec = nn.Linear(channels, channels)
        self.cls_emb = nn.Parameter(torch.zeros(1, num_classes, channels))
        self.blocks = nn.ModuleList(
            Block(channels, num_heads, mlp_dim=4 * channels, dropout=dropout, norm_eps=NORM_EPS)
            for _ in range(num_layers)
        )
        self.decoder_norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.proj_patch = nn.Parameter(channels**-0.5 * torch.randn(channels, channels))
        self.proj_classes = nn.Parameter(channels**-0.5 * torch.randn(channels, channels))
        self.mask_norm = nn.LayerNorm(num_classes, eps=NORM_EPS)
        nn.init.trunc_normal_(self.cls_emb, std=0.02)
        nn.init.trunc_normal_(self.proj_dec.weight, std=0.02)
        nn.init.zeros_(self.proj_dec.bias)
        nn.init.constant_(self.mask_norm.weight, NORM_SCALE)
        expect_background(self.mask_norm.bias, NORM_PRIOR)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Logits of each patch; shape (B, N, C) to (B, N, K)."""
        classes = self.cls_emb.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([self.proj_dec(patches), classes], dim=1)  # (B, N + K, C)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.decoder_norm(tokens)
        patches = tokens[:, : -self.num_classes] @ self.proj_patch
        classes = tokens[:, -self.num_classes :] @ self.proj_classes
        cosines = F.normalize(patches, dim=-1) @ F.normalize(classes, dim=-1).transpose(1, 2)
        logits: torch.Tensor = self.mask_norm(cosines)  # (B, N, K)
        return logits


class LinearDecoder(nn.Module):
    """One linear layer on each patch.

    Args:
        channels: Width C of a token.
        num_classes: Classes K.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(channels, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        expect_background(self.head.bias)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Logits of each patch; shape (B, N, C) to (B, N, K)."""
        logits: torch.Tensor = self.head(patches)
        return logits


class Segmenter(nn.Module):
    """Segmenter for 2D images: every patch gets its classes, enlarged bilinearly to pixels.

    Args:
        image_size: Height and width of the image in pixels, or one number for both; other sizes
            are taken too, as by :class:`medseg.networks.vit.ViT`.
        in_channels: Channels of the image. One channel is repeated to three, so that published
            weights fit.
        num_classes: Channels of the logits, background included.
        variant: Sizes of the ViT, such as ``"ViT-B_16"`` or ``"ViT-S_16"``.
        decoder: ``"mask"``, the mask transformer, or ``"linear"``. A mask transformer wants two
            classes or more: its logits are normalised over the classes.
        patch_size: Side of a patch; this and the following take the place of the variant's.
        hidden_size: Width of a token.
        mlp_dim: Width inside the MLPs.
        num_heads: Attention heads.
        num_layers: Blocks of the encoder.
        decoder_layers: Blocks of the mask transformer.
        dropout: Share of numbers dropped in the encoder in training.
        decoder_dropout: Share of numbers dropped in the mask transformer in training.
        positions: Kind of position embedding, as in :class:`medseg.networks.vit.ViT`.
        positions_at: Where it acts, as there.

    Raises:
        UsageError: If a size does not fit.

    Source:
        Strudel et al., Segmenter, arXiv:2105.05633; names of parameters as in
        rstrudel/segmenter, within ``encoder`` as in timm.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, cited by these names
        self,
        image_size: int | Sequence[int] = 224,
        in_channels: int = 1,
        num_classes: int = 9,
        variant: str = "ViT-B_16",
        decoder: str = "mask",
        *,
        patch_size: int | None = None,
        hidden_size: int | None = None,
        mlp_dim: int | None = None,
        num_heads: int | None = None,
        num_layers: int | None = None,
        decoder_layers: int = 2,
        dropout: float = 0.0,
        decoder_dropout: float = 0.1,
        positions: str = "learned_1d",
        positions_at: str | None = None,
    ) -> None:
        super().__init__()
        _check_choices(num_classes, decoder, decoder_layers)
        self.in_channels = in_channels
        stem = 3 if in_channels == 1 else in_channels
        self.encoder = ViT(
            image_size, stem, num_classes=0, variant=variant, patch_size=patch_size,
            hidden_size=hidden_size, mlp_dim=mlp_dim, num_heads=num_heads, num_layers=num_layers,
            positions=positions, positions_at=positions_at, dropout=dropout, norm_eps=NORM_EPS,
        )  # fmt: skip
        if len(self.encoder.grid) != 2:
            raise UsageError(f"image_size must be one or two sides, got {image_size}")
        channels = len(self.encoder.norm.weight)
        self.decoder: nn.Module
        if decoder == "linear":
            self.decoder = LinearDecoder(channels, num_classes)
        else:
            self.decoder = MaskTransformer(
                channels, num_classes, num_layers=decoder_layers,
                num_heads=_decoder_heads(channels, num_heads), dropout=decoder_dropout,
            )  # fmt: skip

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
        padded = pad_to_multiple(image, self.encoder.patch_embed.patch_size)
        features = self.encoder.feature_map(padded)  # (B, C, h, w)
        logits = self.decoder(features.flatten(2).transpose(1, 2))  # (B, N, K)
        logits = logits.transpose(1, 2).unflatten(2, features.shape[2:])
        logits = F.interpolate(logits, padded.shape[2:], mode="bilinear", align_corners=False)
        return crop(logits, image.shape[2:])


def _decoder_heads(channels: int, num_heads: int | None) -> int:
    """Heads of 64 channels each as published; as many as the encoder's where that is given."""
    return num_heads or max(1, channels // HEAD_WIDTH)


def _check_choices(num_classes: int, decoder: str, decoder_layers: int) -> None:
    if decoder not in DECODERS:
        raise UsageError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
    if num_classes < 1 or decoder_layers < 1:
        raise UsageError(
            "num_classes and decoder_layers must be 1 or more, "
            f"got {num_classes} and {decoder_layers}"
        )
    if decoder == "mask" and num_classes == 1:
        raise UsageError(
            "the mask decoder needs 2 classes or more, got 1; decoder: linear takes it"
        )
