"""Which number format to compute in, and the forward pass that does so."""

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.path import bfloat16_pays

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_precision(precision: str, device: torch.device, axes: int = 2) -> str:
    """Turn ``"auto"`` into the format that suits the device.

    On CUDA that is bfloat16 where the device has it, else float16. On a CPU it is bfloat16 if a
    convolution over so many axes, timed for some hundredths of a second, is clearly faster in it.

    Raises:
        UsageError: If float16 is asked for without CUDA.
    """
    if precision == "float16" and device.type != "cuda":
        raise UsageError(f"precision float16 needs CUDA, the device is {device}; try bfloat16")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if device.type == "cpu" and bfloat16_pays(axes) else "float32"


class Forward:
    """Run a network under autocast; its logits come out as float32, for a safe loss.

    MONAI's trainer takes it as its ``inferer``: the trainer's own ``amp`` casts on CUDA alone.

    Args:
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        channels_last: Whether inputs, 2D or 3D, are laid out with channels last.
    """

    def __init__(self, precision: str, *, channels_last: bool = False) -> None:
        self.dtype = DTYPES[precision]
        self.channels_last = channels_last

    def __call__(
        self, inputs: torch.Tensor, network: nn.Module
    ) -> torch.Tensor | list[torch.Tensor]:
        """Logits of a batch, float32; several sizes of them where the network gives several."""
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=CHANNELS_LAST[inputs.ndim])
        mixed = self.dtype != torch.float32
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=mixed):
            logits = network(inputs)
        if isinstance(logits, (list, tuple)):
            return [scores.float() for scores in logits]
        found: torch.Tensor = logits.float()
        return found


def to_channels_last(network: nn.Module) -> None:
    """Lay out the weights of convolutions, 2D and 3D, with channels last."""
    for parameter in network.parameters():
        form = CHANNELS_LAST.get(parameter.ndim)
        if form is not None:
            parameter.data = parameter.data.contiguous(memory_format=form)
