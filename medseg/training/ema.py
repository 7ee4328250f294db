"""An exponential moving average of the weights, over PyTorch's ``AveragedModel``."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = list[torch.Tensor] | tuple[torch.Tensor, ...]


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``network`` that follows it with every ``update_parameters(network)``.

    Buffers such as the running mean of a batch norm are averaged with the weights; whole
    numbers are copied. The first update copies everything. After n updates the next keeps
    ``warm_decay(decay, n)`` of the average.
    """

    def update(average: Tensors, current: Tensors, count: torch.Tensor | int) -> None:
        if average[0].is_floating_point():
            blend = get_ema_multi_avg_fn(warm_decay(decay, int(count)))  # type: ignore[no-untyped-call]
            blend(average, current, count)
        else:
            for kept, new in zip(average, current, strict=True):
                kept.copy_(new)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def warm_decay(decay: float, count: int) -> float:
    """Decay after ``count`` updates: it rises to ``decay``, so that the first weights fade soon.

    Source:
        ``min(decay, (1 + n) / (10 + n))``, as TensorFlow's ``ExponentialMovingAverage`` does
        with ``num_updates``.
    """
    return min(decay, (1 + count) / (10 + count))
