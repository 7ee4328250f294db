"""What a network costs and takes, found without computing: tensors on PyTorch's meta device.

Such tensors have shapes and no content, so that a network of any size runs in a moment.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

META = torch.device("meta")
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
MISFITS = (
    RuntimeError,
    ValueError,
    AssertionError,
    IndexError,
    TypeError,
    NotImplementedError,
    ImportError,
)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """A network without memory, its attention explicit, so that every product is seen.

    ``build`` is called again, for real, if it computes with numbers on the way.
    """
    try:
        with META:
            network = build()
    except MISFITS:
        network = build().to(META)
    for module in network.modules():
        if isinstance(getattr(module, "fused", None), bool):
            module.fused = False  # type: ignore[assignment]
    return network


def flops(network: nn.Module, shape: Sequence[int]) -> int:
    """FLOPs of one forward pass: 2 for a multiply-add; norms, activations and resizing 0.

    Args:
        network: From ``on_meta``.
        shape: Of its input, (B, C, *spatial).
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(tuple(shape), device=META))
    return int(counter.get_total_flops())


def activation_bytes(network: nn.Module, shape: Sequence[int]) -> int:
    """Bytes that a forward pass in training keeps for the backward pass, weights aside.

    Args:
        network: From ``on_meta``.
        shape: Of its input, (B, C, *spatial).
    """
    weights = [*network.parameters(), *network.buffers()]
    own = {tensor.untyped_storage()._cdata for tensor in weights}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(torch.empty(tuple(shape), device=META))
    return sum(storage.nbytes() for storage in kept.values())


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of what an optimizer over meta parameters remembers from step to step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    remembered = [value for state in optimizer.state.values() for value in state.values()]
    return sum(v.numel() * v.element_size() for v in remembered if isinstance(v, torch.Tensor))


def weight_bytes(network: nn.Module) -> int:
    """Bytes of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in network.state_dict().values())


def fits(network: nn.Module, shape: Sequence[int]) -> str:
    """Why the network does not take a shape, (B, C, *spatial); nothing if it does.

    An output with as many axes as the input must have its size.
    """
    try:
        with torch.no_grad():
            output = network.eval()(torch.empty(tuple(shape), device=META))
    except MISFITS as error:
        return " ".join(str(error).split()) or type(error).__name__
    output = output[0] if isinstance(output, (list, tuple)) else output
    if output.ndim == len(shape) and output.shape[2:] != torch.Size(shape[2:]):
        return f"the output has size {tuple(output.shape[2:])}"
    return ""


def allowed_sizes(network: nn.Module, channels: int, size: Sequence[int]) -> dict[str, Any]:
    """Which sizes of images the network takes, found by trying some.

    Args:
        network: From ``on_meta``.
        channels: Of the image.
        size: A size that it takes.

    Returns:
        ``"multiple"`` of which every side must be, the ``"least"`` side, whether sides may be
        ``"unequal"``; 0, the size's shortest side and false if no other size was found.
    """

    def takes(*sides: int) -> bool:
        return not fits(network, (1, channels, *sides))

    def takes_side(side: int) -> bool:
        return takes(*[side] * len(size))

    side = max(size)
    steps = (step for step in STEPS if side % step == 0 and takes_side(side + step))
    multiple = next(steps, 0)
    if not multiple or not takes_side(side):
        return {"multiple": 0, "least": min(size), "unequal": False}
    low, high = 0, side // multiple  # in multiples: too small, large enough
    if takes_side(multiple):
        high = 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if takes_side(middle * multiple) else (middle, high)
    least = high * multiple
    unequal = takes(*[least] * (len(size) - 1), least + multiple)
    return {"multiple": multiple, "least": least, "unequal": unequal}
