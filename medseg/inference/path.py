"""Which way through a network is the quickest that can be trusted, on this machine and data."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from medseg.errors import UsageError
from medseg.inference.fast import Prepared, prepare
from medseg.inference.slices import PRECISIONS, labels_of

SAME_LABELS = 0.999  # share of labels a half precision must leave as they are
SAME_LOGITS = 1e-4  # largest difference of the exact path, against the larger of 1 and the logits
FAILURES = (RuntimeError, AttributeError, TypeError)  # a network may look into its layers
WORTH_IT = 1.3  # a smaller gain than this is lost again in casting


@dataclass(frozen=True)
class Path:
    """A way through a network.

    Attributes:
        network: What to run; takes and gives float32.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        prepared: Whether ``network`` is a faster copy or the module as it was.
        why: Why this one, in a few words.
    """

    network: nn.Module
    precision: str
    prepared: bool
    why: str

    def to_plain(self) -> dict[str, Any]:
        """What ``predictions.json`` says of it."""
        return {"precision": self.precision, "prepared": self.prepared, "why": self.why}


def choose_path(network: nn.Module, sample: torch.Tensor, precision: str = "auto") -> Path:
    """Prepare a copy of a network and try it on a few real slices or patches.

    ``"auto"`` is a half precision if it is clearly faster here and leaves 99.9 % of the sample's
    labels as they are in float32; else it is ``"float32"``, the prepared copy whose logits are
    those of the network but for rounding. A copy that fails this gives way to the network itself.

    Args:
        network: In ``eval()`` mode; it stays as it is.
        sample: What the network is fed, float32, shape (B, C, H, W) or (B, C, X, Y, Z), on the
            network's device.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or, on CUDA, ``"float16"``.

    Raises:
        UsageError: If the precision is unknown, or float16 is asked for without CUDA.
    """
    check_precision(precision, sample.device)
    if precision in ("bfloat16", "float16"):
        return Path(_half_copy(network, sample, precision), precision, True, "as asked")
    with torch.inference_mode():
        expected: torch.Tensor = network(sample).float()
    why = "as asked"
    if precision == "auto":
        path, why = _try_half(network, sample, expected)
        if path is not None:
            return path
    return _exact_path(network, sample, expected, why)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what is unknown, or not to be had on the device.

    Raises:
        UsageError: If so.
    """
    known = ("auto", *PRECISIONS)
    if precision not in known:
        raise UsageError(f"precision {precision!r}: expected one of {', '.join(known)}")
    if precision == "float16" and device.type != "cuda":
        raise UsageError(f"precision float16 needs CUDA, the device is {device}; try bfloat16")


def bfloat16_pays(axes: int = 2) -> bool:
    """Whether a convolution over so many axes is clearly faster in bfloat16 on this CPU."""
    return _seconds(torch.float32, axes) > WORTH_IT * _seconds(torch.bfloat16, axes)


def _try_half(
    network: nn.Module, sample: torch.Tensor, expected: torch.Tensor
) -> tuple[Path | None, str]:
    """The path of the device's half precision, if it is worth it and safe, and what was found."""
    half = _worthwhile_half(sample.device, sample.ndim - 2)
    if half is None:
        return None, "half precision is not clearly faster here"
    try:
        copy = _half_copy(network, sample, half)
        with torch.inference_mode():
            same = labels_of(copy(sample)) == labels_of(expected)
    except FAILURES as error:
        return None, f"{half} fails: {_brief(error)}"
    share = float(same.double().mean())
    kind = "slices" if sample.ndim == 4 else "patches"
    why = f"{half} gives {share:.3%} of labels as float32 on {len(sample)} {kind}"
    if share < SAME_LABELS:
        return None, f"{why}, wanted {SAME_LABELS:.1%}"
    return Path(copy, half, True, why), why


def _exact_path(network: nn.Module, sample: torch.Tensor, expected: torch.Tensor, why: str) -> Path:
    try:
        copy = prepare(network)
        with torch.inference_mode():
            off = float((copy(sample) - expected).abs().max())
    except FAILURES as error:
        return Path(network, "float32", False, f"{why}; the copy fails: {_brief(error)}")
    if off <= SAME_LOGITS * max(1.0, float(expected.abs().max())):
        return Path(copy, "float32", True, why)
    return Path(network, "float32", False, f"{why}; logits of the copy are {off:.1g} off")


def _half_copy(network: nn.Module, sample: torch.Tensor, precision: str) -> Prepared:
    """A copy cast once where the network allows it; else one under autocast, as on CUDA."""
    dtype = PRECISIONS[precision]
    if sample.device.type == "cpu":
        try:
            copy = prepare(network, dtype=dtype)
            with torch.inference_mode():
                copy(sample[:1])
        except FAILURES:  # it mixes in numbers of its own in float32, or reads its layers' weights
            pass
        else:
            return copy
    return prepare(network, dtype=dtype, autocast=True)


def _worthwhile_half(device: torch.device, axes: int) -> str | None:
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if device.type == "cpu" and bfloat16_pays(axes) else None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:80]


def _seconds(dtype: torch.dtype, axes: int) -> float:
    convolve, sides = (F.conv2d, (48, 48)) if axes == 2 else (F.conv3d, (16, 16, 16))
    image, weight = torch.ones(2, 64, *sides), torch.ones(64, 64, *(3,) * axes)
    image, weight = image.to(dtype), weight.to(dtype)
    times = []
    with torch.inference_mode():
        for _ in range(4):
            start = time.perf_counter()
            convolve(image, weight, padding=1)
            times.append(time.perf_counter() - start)
    return min(times)
