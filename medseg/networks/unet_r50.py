"""R50-U-Net and R50-AttnUNet: a ResNet-50 as encoder, a U-shaped decoder, gated skips or not."""

from collections.abc import Sequence

import torch
from monai.networks.nets import ResNetFeatures
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.cup import CUP
from medseg.networks.layers.grid import crop, pad_to_multiple
from medseg.networks.layers.prior import expect_background
from medseg.networks.layers.resnetv2 import ResNetV2

ENCODERS = ("ResNetV2", "ResNet50")


class ResNet50(ResNetFeatures):  # type: ignore[misc]
    """MONAI's 2D ResNet-50, whose names of parameters are torchvision's, as an encoder.

    Args:
        in_channels: Channels of the image.
    """

    out_channels = 2048
    skip_channels = (1024, 512, 256, 64)

    def __init__(self, in_channels: int) -> None:
        super().__init__("resnet50", pretrained=False, spatial_dims=2, in_channels=in_channels)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features at 1/32 of the image, and skips at 1/16, 1/8, 1/4 and 1/2."""
        half, quarter, eighth, sixteenth, features = super().forward(image)
        return features, [sixteenth, eighth, quarter, half]


class R50UNet(nn.Module):
    """U-Net for 2D images with a ResNet-50 as encoder.

    Args:
        in_channels: Channels of the image; one channel is repeated to three, so that published
            weights fit.
        num_classes: Channels of the logits, background included; 1 for a binary mask.
        encoder: ``"ResNetV2"``, the encoder of TransUNet, which ends at 1/16 of the image; or
            ``"ResNet50"``, MONAI's, which takes torchvision's weights and ends at 1/32.
        block_units: Residual units in each of the three blocks of ``"ResNetV2"``.
        width_factor: Multiplies the widths of ``"ResNetV2"``.
        decoder_channels: Width of the decoder's first convolution and of its blocks, of which
            ``"ResNetV2"`` has four and ``"ResNet50"`` five.

    Raises:
        UsageError: If a size does not fit.

    Source:
        Chen et al., TransUNet, arXiv:2102.04306, compares with such networks, whose code is not
        published: here the encoder is TransUNet's and the decoder its CUP, so that TransUNet
        differs by its transformer alone.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 9,
        *,
        encoder: str = "ResNetV2",
        block_units: Sequence[int] = (3, 4, 9),
        width_factor: float = 1.0,
        decoder_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.backbone = _encoder(encoder, in_channels, block_units, width_factor)
        self.decoder, self.head = _decoder(self.backbone, num_classes, decoder_channels, False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Segment; shape (B, ``in_channels``, H, W) to (B, ``num_classes``, H, W).

        Raises:
            ValueError: If the shape of ``image`` does not fit.
        """
        return _segment(self, image)


class R50AttnUNet(nn.Module):
    """Attention U-Net for 2D images with a ResNet-50 as encoder: R50UNet with gated skips.

    Args:
        in_channels: As in :class:`R50UNet`, like all that follow.
        num_classes: As there.
        encoder: As there.
        block_units: As there.
        width_factor: As there.
        decoder_channels: As there.

    Raises:
        UsageError: If a size does not fit.

    Source:
        Oktay et al., Attention U-Net, arXiv:1804.03999; the gates are MONAI's.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 9,
        *,
        encoder: str = "ResNetV2",
        block_units: Sequence[int] = (3, 4, 9),
        width_factor: float = 1.0,
        decoder_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.backbone = _encoder(encoder, in_channels, block_units, width_factor)
        self.decoder, self.head = _decoder(self.backbone, num_classes, decoder_channels, True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Segment; shape (B, ``in_channels``, H, W) to (B, ``num_classes``, H, W).

        Raises:
            ValueError: If the shape of ``image`` does not fit.
        """
        return _segment(self, image)


def _encoder(
    name: str, in_channels: int, block_units: Sequence[int], width_factor: float
) -> ResNetV2 | ResNet50:
    if name not in ENCODERS:
        raise UsageError(f"encoder must be one of {', '.join(ENCODERS)}, got {name!r}")
    if in_channels < 1:
        raise UsageError(f"in_channels must be 1 or more, got {in_channels}")
    if len(block_units) != 3 or min(block_units) < 1:
        raise UsageError(f"block_units must be 3 counts of 1 or more, got {tuple(block_units)}")
    if width_factor < 1 / 64:
        raise UsageError(f"width_factor must be at least 1/64, got {width_factor}")
    stem = 3 if in_channels == 1 else in_channels
    if name == "ResNet50":
        return ResNet50(stem)
    return ResNetV2(stem, block_units, width_factor=width_factor)


def _decoder(
    encoder: ResNetV2 | ResNet50, num_classes: int, channels: Sequence[int] | None, gated: bool
) -> tuple[CUP, nn.Conv2d]:
    skips = list(encoder.skip_channels)
    skips += [0] * (4 - len(skips)) if isinstance(encoder, ResNetV2) else [0]
    channels = channels or (*(512, 256, 128, 64, 32)[: len(skips)], 16)
    if len(channels) != len(skips) + 1 or min(channels) < 1:
        raise UsageError(
            f"decoder_channels must be {len(skips) + 1} counts of 1 or more, got {tuple(channels)}"
        )
    if num_classes < 1:
        raise UsageError(f"num_classes must be 1 or more, got {num_classes}")
    head = nn.Conv2d(channels[-1], num_classes, 3, padding=1)
    expect_background(head.bias)
    return CUP(encoder.out_channels, skips, channels=channels, gated=gated), head


def _segment(network: R50UNet | R50AttnUNet, image: torch.Tensor) -> torch.Tensor:
    if image.ndim != 4 or image.shape[1] != network.in_channels:
        raise ValueError(
            f"image must have shape (B, {network.in_channels}, H, W), got {tuple(image.shape)}"
        )
    multiple = 16 if isinstance(network.backbone, ResNetV2) else 32
    padded = pad_to_multiple(image, multiple)
    if image.shape[1] == 1:
        padded = padded.expand(-1, 3, -1, -1)
    features, skips = network.backbone(padded)
    logits: torch.Tensor = network.head(network.decoder(features, skips))
    return crop(logits, image.shape[2:])
