"""Layer-wise relevance propagation (LRP): where in a network a score comes from.

A network runs once under :class:`RelevanceRules`, which leaves every value as it is and replaces
how gradients go back through each operation by a rule that hands on relevance instead. PyTorch's
autograd then carries relevance from the logits to any tensor of the network, whatever its layers
are called and however they are wired.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

EPS = 1e-9


def share(relevance: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """``relevance / total``, and 0 where ``total`` is 0."""
    away = total + EPS  # as the published code does, whatever the sign
    return torch.where((total == 0) | (away == 0), torch.zeros_like(relevance), relevance / away)


class RelevanceRules(TorchFunctionMode):
    """While active, operations compute as ever but propagate relevance backwards.

    * Linear layers and convolutions: by what each input adds to the output with the sign of the
      output's rule, positive inputs by positive weights and negative ones by negative weights.
    * Products of two tensors that depend on the image, as in attention: half to each, by its
      share. Of products with weights, as a linear layer; weights must not require gradients.
    * Sums: by each summand's share, scaled so that both together keep the relevance.
    * Norms, activations, softmax, dropout and factors that are numbers: handed on as it is.
    * All else (pooling, interpolation, means, reshaping, concatenation): the gradient, which keeps
      the sum there.

    Biases take no relevance.

    Source:
        Chefer, Gur, Wolf: Transformer Interpretability Beyond Attention Visualization,
        arXiv:2012.09838, equations 2 to 8, with alpha 1.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Apply the rule of an operation, or the operation itself where it has none."""
        kwargs = kwargs or {}
        rule = RULES.get(func)
        if rule is None or not torch.is_grad_enabled() or not _any_grad(args):
            return func(*args, **kwargs)
        return rule(func, args, kwargs)


def _any_grad(args: Any) -> bool:
    return any(isinstance(one, torch.Tensor) and one.requires_grad for one in args)


class _Through(torch.autograd.Function):
    """Hand relevance on from a result to what it was made of."""

    @staticmethod
    def forward(_ctx: Any, _x: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        return result.view_as(result)

    @staticmethod
    def backward(_ctx: Any, relevance: torch.Tensor) -> Any:
        return relevance, None


class _Positive(torch.autograd.Function):
    """A linear operation of an input and weights."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, result: torch.Tensor, call: Any
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call = call
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, relevance: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        parts = [x.clamp(min=0).detach(), x.clamp(max=0).detach()]
        weights = weight.clamp(min=0), weight.clamp(max=0)
        with torch.enable_grad():
            for part in parts:
                part.requires_grad_()
            total = sum(ctx.call(part, w) for part, w in zip(parts, weights, strict=True))
        given = torch.autograd.grad(total, parts, share(relevance, total.detach()))
        taken = sum(part.detach() * g for part, g in zip(parts, given, strict=True))
        return taken, None, None, None


class _Product(torch.autograd.Function):
    """A product of two tensors, each of which takes half."""

    @staticmethod
    def forward(
        ctx: Any, a: torch.Tensor, b: torch.Tensor, call: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        ctx.call = call
        return call(a, b)

    @staticmethod
    def backward(ctx: Any, relevance: torch.Tensor) -> Any:
        parts = [saved.detach().requires_grad_() for saved in ctx.saved_tensors]
        with torch.enable_grad():
            result = ctx.call(*parts)
        given = torch.autograd.grad(result, parts, share(relevance, result.detach()))
        halves = (part.detach() * g / 2 for part, g in zip(parts, given, strict=True))
        return (*halves, None)


class _Sum(torch.autograd.Function):
    """A sum of two tensors of one shape."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return a + b

    @staticmethod
    def backward(ctx: Any, relevance: torch.Tensor) -> Any:
        total = sum(ctx.saved_tensors)
        # A sum goes on to several layers; the published code divides what comes back by it there.
        relevance = total * share(relevance, total)
        shares = share(relevance, total)
        parts = [saved * shares for saved in ctx.saved_tensors]
        sums = [_per_sample(part) for part in parts]
        both = sums[0].abs() + sums[1].abs()
        whole = _per_sample(relevance)
        return tuple(
            part * share(share(one.abs(), both) * whole, one)
            for part, one in zip(parts, sums, strict=True)
        )


def _apply(function: Any, *arguments: Any) -> Any:
    return function.apply(*arguments)


def _together(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Tensors of one shape; relevance of what was repeated for it is summed again."""
    shape = torch.broadcast_shapes(*(one.shape for one in tensors))  # type: ignore[no-untyped-call]
    return [tensor.expand(shape) for tensor in tensors]


def _per_sample(x: torch.Tensor) -> torch.Tensor:
    return x.sum(dim=tuple(range(1, x.ndim)), keepdim=True)


def _through(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    x, *others = args
    with torch.no_grad():
        result = func(x.detach().clone(), *others, **kwargs)  # a copy: some work in place
    return _apply(_Through, x, result)


def _linear(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    x, weight, *others = args
    bias = kwargs.pop("bias", None) if len(args) < 3 else others.pop(0)

    def call(part: torch.Tensor, of_weight: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = func(part, of_weight, None, *others, **kwargs)
        return made

    with torch.no_grad():
        result = func(x, weight, bias, *others, **kwargs)
    return _apply(_Positive, x, weight.detach(), result, call)


def _matmul(func: Any, args: Any, _kwargs: dict[str, Any]) -> Any:
    a, b = args
    if not b.requires_grad:
        return _apply(_Positive, a, b, func(a.detach(), b), func)
    if not a.requires_grad:
        swapped = partial(_swapped, func)
        return _apply(_Positive, b, a, func(a, b.detach()), swapped)
    return _apply(_Product, a, b, func)


def _swapped(func: Any, b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = func(a, b)
    return product


def _factor(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    x, other = args
    if not isinstance(x, torch.Tensor):
        return _through(func, (other, x), kwargs)
    if not isinstance(other, torch.Tensor) or (other.numel() == 1 and not other.requires_grad):
        return _through(func, args, kwargs)
    return _apply(_Product, *_together(x, other), func)


def _add(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    x, other = args
    if kwargs or not (isinstance(x, torch.Tensor) and isinstance(other, torch.Tensor)):
        return func(*args, **kwargs)
    return _apply(_Sum, *_together(x, other))


HANDED_ON = (
    F.softmax, torch.softmax, torch.Tensor.softmax, F.layer_norm, F.group_norm, torch.group_norm,
    F.batch_norm, F.instance_norm, torch.batch_norm, torch.instance_norm, torch.layer_norm,
    F.normalize, F.relu, F.relu6, F.gelu, F.silu, F.mish, F.elu,
    F.leaky_relu, F.prelu, F.hardswish, torch.relu, torch.Tensor.relu, torch.sigmoid, torch.tanh,
    torch.Tensor.sigmoid, F.dropout, F.dropout2d, F.dropout3d,
)  # fmt: skip
LINEAR = (
    F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d,
    F.conv_transpose3d,
)  # fmt: skip
RULES: dict[Any, Any] = {
    **dict.fromkeys(HANDED_ON, _through),
    **dict.fromkeys(LINEAR, _linear),
    **dict.fromkeys((torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm), _matmul),
    **dict.fromkeys((torch.mul, torch.Tensor.mul, torch.div, torch.Tensor.div), _factor),
    **dict.fromkeys((torch.add, torch.Tensor.add), _add),
}
