"""Which part of the image a token stands for, and maps of tokens brought onto the image."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

NEAR = 0.5  # of a step; less is padding of the image, more are other tokens
LARGER = 3  # times the image, so that its middle knows nothing of any border


@dataclass(frozen=True)
class Places:
    """Where the tokens of a grid lie in the image.

    Attributes:
        step: Pixels from one token to the next along each axis.
        shift: Pixel at the centre of the first one.
    """

    step: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def even(cls, grid: tuple[int, ...], size: tuple[int, ...]) -> "Places":
        """A grid whose cells divide the image evenly."""
        step = tuple(side / count for side, count in zip(size, grid, strict=True))
        return cls(step, tuple((one - 1) / 2 for one in step))

    def is_near(self, other: "Places") -> bool:
        """Whether the steps of two grids are about the same."""
        pairs = zip(self.step, other.step, strict=True)
        return all(abs(one - two) < NEAR * two for one, two in pairs)

    def onto_image(self, tokens: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """Interpolate linearly between the tokens' centres; (B, *grid) to (B, *size)."""
        axes = []
        for count, length, step, shift in zip(
            tokens.shape[1:], size, self.step, self.shift, strict=True
        ):
            place = (torch.arange(length, device=tokens.device) - shift) / step
            axes.append(2 * place / (count - 1) - 1 if count > 1 else torch.zeros_like(place))
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)  # last axis first
        grid = grid.to(tokens.dtype).expand(len(tokens), *grid.shape)
        moved = F.grid_sample(tokens[:, None], grid, padding_mode="border", align_corners=True)
        return moved[:, 0]

    def shares(self, region: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
        """How much of a region lies at each token, summing to 1; (B, *size) to (B, *grid).

        Every pixel counts for the tokens around it as it would be interpolated from them.
        """
        tokens = region.new_zeros((len(region), *grid), dtype=torch.float32).requires_grad_()
        with torch.enable_grad():
            onto = self.onto_image(tokens, tuple(region.shape[1:]))
            total = (onto * region.float()).sum()
        (shares,) = torch.autograd.grad(total, tokens)
        sums = shares.flatten(1).sum(1).clamp(min=1e-12)
        return shares / sums.view(-1, *[1] * len(grid))


def places_of_tokens(network: nn.Module, image: torch.Tensor) -> Places:
    """Find where the tokens of a network lie, whatever comes before them.

    An image of coordinates goes through the network up to its ``patch_embed``; convolutions and
    pooling take means there and all else lets them pass, so that each token ends up with the
    centre of what it sees. (In a TransUNet this is pixel 16 i + 2, not 16 i + 7.5: strides and the
    unpadded pooling of its convolutional network move it.)

    Where this comes to nothing, since a network calculates in a way that is not known here, the
    grid is taken to divide the image evenly.

    Args:
        network: Has a module with ``patch_embed``.
        image: Shape (B, C, *spatial); its size alone matters.
    """
    sides = tuple(image.shape[2:])
    lines = [_centres_along(network, image, axis) for axis in range(len(sides))]
    grid = tuple(max(1, round(len(line) / LARGER)) for line in lines)
    step, shift = [], []
    for line in lines:
        middle = len(line) // 2
        step.append(float(line[middle] - line[middle - 1]))
        shift.append(float(line[middle]) - middle * step[-1])
    found, even = Places(tuple(step), tuple(shift)), Places.even(grid, sides)
    return found if found.is_near(even) else even


def _centres_along(network: nn.Module, image: torch.Tensor, axis: int) -> torch.Tensor:
    """Where the tokens in the middle of an image that is longer along an axis lie along it."""
    size = list(image.shape[2:])
    size[axis] *= LARGER
    ticks = torch.arange(size[axis], dtype=torch.float32, device=image.device)
    along = ticks.view([-1 if one == axis else 1 for one in range(len(size))])
    coordinates = along.expand(1, image.shape[1], *size)
    embed: Any = next(m.patch_embed for m in network.modules() if hasattr(m, "patch_embed"))
    hook = embed.register_forward_hook(_stop)
    try:
        with torch.no_grad(), _Centres():
            network(coordinates)
    except _ReachedError as reached:
        centres = reached.output[0, 0].movedim(axis, 0).flatten(1)
    finally:
        hook.remove()
    return centres[:, centres.shape[1] // 2]


class _ReachedError(Exception):
    """Carries what was found out of the network."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output


def _stop(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
    raise _ReachedError(output)


class _Centres(TorchFunctionMode):
    """While active, every operation keeps the mean coordinate of what it looks at."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in CONVOLUTIONS:
            return _mean_of_window(func, args, kwargs)
        if func in POOLS:
            given = {name: value for name, value in kwargs.items() if name in POOL_ARGUMENTS}
            pooled = POOLS[func](args[0][:, :1], *args[1:], **given, count_include_pad=False)
            return pooled.expand(-1, args[0].shape[1], *pooled.shape[2:])
        if func in PASSING:
            return args[0]
        if func is F.linear:
            return args[0][..., :1].expand(*args[0].shape[:-1], len(args[1]))
        if func in (torch.add, torch.Tensor.add) and isinstance(args[1], torch.Tensor):
            both = (args[0][:, :1] + args[1][:, :1]) / 2
            return both.expand(-1, args[0].shape[1], *both.shape[2:])
        return func(*args, **kwargs)


def _mean_of_window(func: Any, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    x, weight, *others = args
    if others:
        others[0] = None  # bias
    kwargs = {**kwargs, "bias": None} if "bias" in kwargs else kwargs
    kwargs = {name: value for name, value in kwargs.items() if name != "groups"}
    count = torch.ones_like(weight[:1, :1])
    one = x[:, :1]  # all channels are alike
    window: torch.Tensor = func(one, count, *others[:4], **kwargs)
    window = window / func(torch.ones_like(one), count, *others[:4], **kwargs)  # not the padding
    return window.expand(-1, len(weight), *window.shape[2:])


CONVOLUTIONS = (F.conv2d, F.conv3d)
POOL_ARGUMENTS = ("kernel_size", "stride", "padding", "ceil_mode")
POOLS: dict[Any, Any] = {
    F.max_pool2d: F.avg_pool2d, F.max_pool3d: F.avg_pool3d,
    torch.max_pool2d: F.avg_pool2d, torch.max_pool3d: F.avg_pool3d,
}  # fmt: skip
PASSING = (
    F.layer_norm, F.group_norm, torch.group_norm, F.batch_norm, F.instance_norm, F.relu, F.gelu,
    torch.batch_norm, torch.instance_norm, torch.layer_norm,
    F.silu, F.leaky_relu, F.prelu, F.dropout, F.dropout2d, F.dropout3d, torch.relu,
)  # fmt: skip
