"""Which number format to compute in, and the forward pass that does so."""

import time

import torch
from torch import nn
from torch.nn import functional as F

from medseg.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WORTH_IT = 1.3  # a smaller gain than this is lost again in casting


def pick_precision(precision: str, device: torch.device) -> str:
    """Turn ``"auto"`` into the format that suits the device.

    On CUDA that is bfloat16 where the device has it, else float16. On a CPU it is bfloat16 if a
    convolution, timed for some hundredths of a second, is clearly faster in it.

    Raises:
        UsageError: If float16 is asked for without CUDA.
    """
    if precision == "float16" and device.type != "cuda":
        raise UsageError(f"precision float16 needs CUDA, the device is {device}; try bfloat16")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if device.type == "cpu" and _bfloat16_pays() else "float32"


class Forward:
    """Run a network under autocast; its logits come out as float32, for a safe loss.

    MONAI's trainer takes it as its ``inferer``: the trainer's own ``amp`` casts on CUDA alone.

    Args:
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        channels_last: Whether 4D inputs are laid out with channels last.
    """

    def __init__(self, precision: str, *, channels_last: bool = False) -> None:
        self.dtype = DTYPES[precision]
        self.channels_last = channels_last

    def __call__(self, inputs: torch.Tensor, network: nn.Module) -> torch.Tensor:
        """Logits of a batch, float32."""
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        mixed = self.dtype != torch.float32
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=mixed):
            logits: torch.Tensor = network(inputs)
        return logits.float()


def _bfloat16_pays() -> bool:
    return _seconds(torch.float32) > WORTH_IT * _seconds(torch.bfloat16)


def _seconds(dtype: torch.dtype) -> float:
    image, weight = torch.ones(2, 64, 48, 48, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)
    times = []
    with torch.inference_mode():
        for _ in range(4):
            start = time.perf_counter()
            F.conv2d(image, weight, padding=1)
            times.append(time.perf_counter() - start)
    return min(times)
