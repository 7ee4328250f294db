"""Layers that stand in for slower ones in a copy of a network made for inference."""

import torch
from torch import nn

from medseg.networks.layers.resnetv2 import StdConv2d


class Standardised(nn.Conv2d):
    """What a :class:`StdConv2d` computes, its weights standardised once."""

    def __init__(self, conv: StdConv2d) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,  # type: ignore[arg-type]
            conv.padding, bias=False, device="meta",  # type: ignore[arg-type]
        )  # fmt: skip
        self.weight = nn.Parameter(conv.standardised().detach(), requires_grad=False)
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Convolve; a layer of three channels takes one as that channel repeated."""
        weight = self.weight
        if image.shape[1] == 1 and self.in_channels == 3:
            weight = weight.sum(1, keepdim=True)
        out: torch.Tensor = self._conv_forward(image, weight, self.bias)
        return out


class PackedLinear(nn.Module):
    """``nn.Linear`` by oneDNN on a CPU, its weight in the order that oneDNN works in.

    In float32 it is as exact as ``nn.Linear``, which leaves the work to MKL; MKL is slow on
    processors that are not Intel's.

    Source:
        The operators that ``torch.compile`` puts in the place of ``nn.Linear``.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (..., C) to (..., C')."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.packed, self.bias, "none", [], "none"
        )
        return out


class FastGroupNorm(nn.Module):
    """``nn.GroupNorm`` of images laid out with channels last.

    With channels last torch's own sums pixels one after the other, which in float32 costs two
    digits; and in half precision it is many times slower where both image and groups are small.
    There the sums are taken here, pairwise per channel; elsewhere torch's own is used.
    """

    SMALL_IMAGE, SMALL_GROUP = 1024, 16  # pixels and channels below which torch's is slow

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise; shape (B, C, ...) in and out."""
        norm, (channels, pixels) = self.norm, (x.shape[1], x.shape[2:].numel())
        small = pixels < self.SMALL_IMAGE and channels // norm.num_groups < self.SMALL_GROUP
        if x.ndim != 4 or (x.dtype != torch.float32 and not small):
            return torch.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
        scale, shift = self._scale_and_shift(x.float())
        return torch.addcmul(shift, x.float(), scale).to(x.dtype)

    def _scale_and_shift(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What each channel is multiplied by and what is added then, (B, C, 1, 1) each."""
        mean, square = self._mean(x), self._mean(x * x)
        scale = ((square - mean * mean).clamp_min(0) + self.norm.eps).rsqrt()
        shift = -mean * scale
        if self.norm.affine:
            rows = (1, self.norm.num_groups, -1)
            scale, shift = (part * self.norm.weight.view(rows) for part in (scale, shift))
            shift = shift + self.norm.bias.view(rows)
        return self._to_channels(scale, x), self._to_channels(shift, x)

    def _mean(self, x: torch.Tensor) -> torch.Tensor:
        """Of every group, (B, groups, 1), float64."""
        per_channel = x.mean((2, 3)).double().view(len(x), self.norm.num_groups, -1)
        return per_channel.mean(-1, keepdim=True)

    def _to_channels(self, groups: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """From (B, groups, 1 or C / groups) to (B, C, 1, 1), float32."""
        size = x.shape[1] // self.norm.num_groups
        full = groups.expand(len(x), self.norm.num_groups, size)
        return full.float().reshape(len(x), -1, 1, 1)


def has_onednn() -> bool:
    """Whether :class:`PackedLinear` can be used on this machine."""
    return (
        torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )
