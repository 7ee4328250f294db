"""V-Net, MONAI's, for images and volumes of any size."""

import torch
from monai.networks.nets import VNet as MonaiVNet
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.grid import crop, pad_to_multiple
from medseg.networks.layers.prior import expect_background

MULTIPLE = 16
STEM_WIDTH = 16  # MONAI repeats the image's channels to so many


class VNet(nn.Module):
    """V-Net for 2D images or volumes; padded to multiples of 16 and cropped back.

    MONAI's network, but for two things: sides need not be multiples of 16, and in 2D its dropout
    drops channels (as made by MONAI it drops whole images of a batch there).

    Args:
        in_channels: Channels of the image: 1, 2, 4, 8 or 16. MONAI's V-Net repeats them to 16;
            other numbers are brought to 16 by zeros.
        num_classes: Channels of the logits, background included; 1 for a binary mask.
        spatial_dims: 2 for images, 3 for volumes.
        dropout: Share of channels dropped in the inner blocks and their skips in training.

    Raises:
        UsageError: If a number does not fit.

    Source:
        Milletari et al., V-Net, arXiv:1606.04797.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 9,
        *,
        spatial_dims: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 1 <= in_channels <= STEM_WIDTH or num_classes < 1:
            raise UsageError(
                f"in_channels must be 1 to {STEM_WIDTH} and num_classes 1 or more, "
                f"got {in_channels} and {num_classes}"
            )
        if spatial_dims not in (2, 3):
            raise UsageError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, got {dropout}")
        self.in_channels, self.spatial_dims = in_channels, spatial_dims
        self.stem_channels = in_channels if STEM_WIDTH % in_channels == 0 else STEM_WIDTH
        self.net = MonaiVNet(
            spatial_dims,
            self.stem_channels,
            num_classes,
            dropout_prob_down=dropout,
            dropout_prob_up=(dropout, dropout),
        )
        if spatial_dims == 2:
            _drop_channels(self.net)
        expect_background(self.net.out_tr.conv2.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Segment; shape (B, ``in_channels``, *spatial) to (B, ``num_classes``, *spatial).

        Raises:
            ValueError: If the shape of ``image`` does not fit.
        """
        if image.ndim != 2 + self.spatial_dims or image.shape[1] != self.in_channels:
            sides = "H, W" if self.spatial_dims == 2 else "D, H, W"
            raise ValueError(
                f"image must have shape (B, {self.in_channels}, {sides}), got {tuple(image.shape)}"
            )
        padded = pad_to_multiple(image, MULTIPLE)
        if self.stem_channels != self.in_channels:
            missing = self.stem_channels - self.in_channels
            zeros = padded.new_zeros(len(padded), missing, *padded.shape[2:])
            padded = torch.cat([padded, zeros], dim=1)
        logits: torch.Tensor = self.net(padded)
        return crop(logits, image.shape[2:])


def _drop_channels(network: nn.Module) -> None:
    """Put 2D dropout in the place of 3D dropout, which takes a batch of images for one volume."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout3d):
                setattr(module, name, nn.Dropout2d(child.p))
