"""A path through a network, compiled for this machine by ``torch.compile``.

Compiling takes from half a minute to some minutes for every size of batch, so that there is only
one: smaller batches are filled up with zeros. It pays for many cases, not for one.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from medseg.inference.fast import Prepared, prepare
from medseg.inference.path import SAME_LABELS, SAME_LOGITS, Path
from medseg.inference.slices import labels_of

LONGEST_REASON = 120  # characters of what the compiler says


class Compiled(nn.Module):
    """A compiled network, which sees batches of one size.

    Args:
        network: What to compile; takes and gives float32.
        size: Inputs per batch. A larger batch becomes the new size, and so does the next one
            after an error, such as a lack of memory.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        on_cpu = next(network.parameters(), torch.empty(0)).device.type == "cpu"
        options: Any = {"freezing": True} if on_cpu else None  # weights packed once for oneDNN
        self.network = torch.compile(network, dynamic=False, options=options)
        self.size = size
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images of shape (B, C, ...)."""
        count = len(images)
        self.size = max(self.size, count)
        if count < self.size:
            images = torch.cat([images, images.new_zeros(self.size - count, *images.shape[1:])])
        try:
            logits: torch.Tensor = self.network(images)
        except Exception:
            self.size = 0
            raise
        return logits[:count]


def compiled(path: Path, network: nn.Module, sample: torch.Tensor, size: int) -> Path:
    """Compile a path in its precision and try it on the sample that it was chosen on.

    Args:
        path: Of ``network``.
        network: In ``eval()`` mode; it stays as it is.
        sample: What the network is fed, float32, shape (B, C, ...), on its device.
        size: Inputs per batch, at least those of ``sample``.

    Returns:
        The compiled path; or ``path`` with the reason in ``why``, if there is no compiler, if it
        fails, or if what it made does not give the logits (in half precision 99.9 % of the labels)
        of ``path``.
    """
    if not isinstance(path.network, Prepared):
        return replace(path, why=f"{path.why}; not compiled, as no copy of the network holds")
    try:
        copy = prepare(
            network, dtype=path.network.dtype, autocast=path.network.autocast, own_layers=False
        )
        made = Compiled(copy, max(size, len(sample)))
        with torch.inference_mode():
            fault = _fault(made(sample), path.network(sample), path.precision)
    except Exception as error:  # noqa: BLE001 - of many kinds: no compiler, no room for its files
        said = (str(error).strip().splitlines() or [""])[0][:LONGEST_REASON]
        fault = f"{type(error).__name__}: {said}"
    if fault:
        return replace(path, why=f"{path.why}; not compiled: {fault}")
    return replace(path, network=made, why=f"{path.why}; compiled for batches of {made.size}")


def _fault(found: torch.Tensor, expected: torch.Tensor, precision: str) -> str:
    if precision != "float32":
        share = float((labels_of(found) == labels_of(expected)).double().mean())
        return "" if share >= SAME_LABELS else f"it gives {share:.3%} of the labels"
    off = float((found - expected).abs().max())
    most = SAME_LOGITS * max(1.0, float(expected.abs().max()))
    return "" if off <= most else f"its logits are {off:.1g} off"
