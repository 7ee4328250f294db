"""How much of a target comes by each skip of a U-shaped network, and how much from its bottom."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.reading import Grid, at_rest, is_within
from medseg.explain.targets import Target

BOTTOM = "bottom"


@dataclass(frozen=True)
class Way:
    """One way by which features reach the decoder.

    Attributes:
        name: Module in which a skip joins what comes from below, or ``"bottom"``: what comes
            from below where the first skip joins, such as a transformer's tokens.
        grid: Places that its features have along each axis.
        drop: How far the target's score falls when the features are replaced by their mean over
            the image, which knows of no place, (B,).
        share: That, as a share of how far it falls when all ways are replaced at once, (B,).
        alone: Share of this fall that is not there when all other ways are replaced, (B,).
        dice: Overlap of where the network finds the class without and with the way, (B,).
    """

    name: str
    grid: Grid
    drop: torch.Tensor
    share: torch.Tensor
    alone: torch.Tensor
    dice: torch.Tensor


def ways_of(network: nn.Module, image: torch.Tensor, target: Target) -> list[Way]:
    """Measure what each skip, and what comes from below them all, is worth to a target.

    Ways work together, so that their shares need not add up to 1: what two of them know alike
    is missed only when both are gone.

    Args:
        network: Skips join in modules that are called with two maps of features, the one from
            below first, or in modules such as MONAI's ``SkipConnection``, which join what their
            ``submodule`` gives to what it was given. It is left as it was.
        image: Shape (B, channels, *spatial).
        target: What is explained.

    Returns:
        The bottom first, then the skips from the coarsest on.

    Raises:
        UsageError: If the network has no skips that can be seen.
    """
    with at_rest(network), torch.no_grad():
        joints = _joints(network, image)
        if not joints:
            raise UsageError(f"{type(network).__name__} has no skips that can be seen")
        logits = network(image)
        target = target.fixed(logits)
        names, whole = [BOTTOM, *joints], target.score(logits)

        def without(replaced: Collection[str]) -> torch.Tensor:
            with _replacing(network, list(joints), replaced):
                return torch.as_tensor(network(image))

        fall = whole - target.score(without(names))
        ways = []
        for name in names:
            changed = without([name])
            drop = whole - target.score(changed)
            rest = target.score(without([other for other in names if other != name]))
            alone = 1 - (whole - rest) / fall
            grid = joints[next(iter(joints))][0] if name == BOTTOM else joints[name][1]
            dice = _overlap(logits, changed, target)
            ways.append(Way(name, grid, drop, drop / fall, alone, dice))
    return ways


def _joints(network: nn.Module, image: torch.Tensor) -> dict[str, tuple[Grid, Grid]]:
    """Modules in which a skip joins, in the order in which they do; grids from below, and its."""
    found: dict[str, tuple[Grid, Grid]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            maps = [one for one in args if _is_map(one, image)]
            if _is_connection(module) and len(maps) == 1:
                found[name] = (tuple(maps[0].shape[2:]), tuple(maps[0].shape[2:]))
            elif len(maps) == 2 and _is_map(output, image):
                found[name] = (tuple(maps[0].shape[2:]), tuple(maps[1].shape[2:]))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules()]
    try:
        network(image[:1])
    finally:
        for hook in hooks:
            hook.remove()
    modules = dict(network.named_modules())
    joining = [name for name in found if not _is_connection(modules[name])]
    return {  # what is called with two maps within another such module is a part of it
        name: grids
        for name, grids in found.items()
        if not any(name != other and is_within(name, other) for other in joining)
    }


@contextmanager
def _replacing(network: nn.Module, joints: list[str], replaced: Collection[str]) -> Iterator[None]:
    """Replace the skips named, and what comes from below the first, by means over the image."""
    modules, hooks = dict(network.named_modules()), []
    for name in joints:
        module = modules[name]
        below = name == joints[0] and BOTTOM in replaced
        change = _changing(module) if _is_connection(module) else None
        if change is not None:
            hooks.append(module.register_forward_hook(change(name in replaced, below)))
        else:
            hooks.append(module.register_forward_pre_hook(_before(name in replaced, below)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _before(skip: bool, below: bool) -> Any:
    def hook(_module: nn.Module, args: Any) -> Any:
        maps = [index for index, one in enumerate(args) if torch.is_tensor(one)][:2]
        changed = list(args)
        for index, wanted in zip(maps, (below, skip), strict=True):
            changed[index] = _mean(args[index]) if wanted else args[index]
        return tuple(changed)

    return hook


def _changing(module: Any) -> Callable[[bool, bool], Any]:
    """Of a connection that joins its input and its submodule's output: by their sum or in turn."""

    def change(skip: bool, below: bool) -> Any:
        def hook(_module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            given: torch.Tensor = args[0]
            if module.mode == "add":
                found = output - given
                return (_mean(given) if skip else given) + (_mean(found) if below else found)
            count = given.shape[1]
            own, found = output[:, :count], output[:, count:]
            parts = [_mean(own) if skip else own, _mean(found) if below else found]
            return torch.cat(parts, dim=1)

        return hook

    return change


def _is_connection(module: nn.Module) -> bool:
    mode = getattr(module, "mode", None)
    return isinstance(getattr(module, "submodule", None), nn.Module) and mode in ("cat", "add")


def _is_map(value: Any, image: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == image.ndim


def _mean(features: torch.Tensor) -> torch.Tensor:
    spatial = tuple(range(2, features.ndim))
    return features.mean(dim=spatial, keepdim=True).expand_as(features)


def _overlap(one: torch.Tensor, other: torch.Tensor, target: Target) -> torch.Tensor:
    """Dice of where the target's class is found in two logits; 1 where it is in neither."""
    masks = [Target(target.channel).fixed(logits).region for logits in (one, other)]
    a, b = (mask.flatten(1).float() for mask in masks if mask is not None)
    total = a.sum(1) + b.sum(1)
    dice = 2 * (a * b).sum(1) / total.clamp(min=1)
    return torch.where(total > 0, dice, torch.ones_like(dice))
