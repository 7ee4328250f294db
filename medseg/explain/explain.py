"""One way to ask any method why a network says what it says."""

import importlib
import pkgutil
from collections.abc import Callable

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain import methods
from medseg.explain.options import Options
from medseg.explain.places import Places, places_of_tokens
from medseg.explain.reading import at_rest
from medseg.explain.targets import Target

Method = Callable[[nn.Module, torch.Tensor, Target, Options], torch.Tensor]


def explain_network(
    network: nn.Module,
    image: torch.Tensor,
    target: Target,
    *,
    method: str = "rollout",
    options: Options | None = None,
) -> torch.Tensor:
    """What in an image matters for a target; the network is left as it was.

    Args:
        network: Gives logits (B, C, *spatial), or (B, C) if it classifies.
        image: Shape (B, channels, *spatial).
        target: What is explained; without a region, where the network finds the class.
        method: A file's name in ``medseg/explain/methods``; :func:`method_names` lists them.
        options: What can be chosen of the method.

    Returns:
        A map of shape (B, *spatial), float, without a graph: the larger, the more important. Maps
        of tokens are interpolated between the places that the tokens stand for. Where the region
        is empty the map is 0. A batch gives what its images give one by one.

    Raises:
        UsageError: If method, options or target do not fit the network.
        ResourceError: If attention would take more memory than ``options`` allow.
    """
    function, options = find_method(method), options or Options()
    with at_rest(network), torch.inference_mode(False), torch.enable_grad():
        image = image.detach().clone()
        with torch.no_grad():
            target = target.fixed(network(image))
        found = function(network, image, target, options).detach()
        if target.region is not None:
            empty = ~target.region.flatten(1).any(dim=1)
            found = found.masked_fill(empty.view(-1, *[1] * (found.ndim - 1)), 0)
        return onto_image(found, network, image)


def onto_image(found: torch.Tensor, network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """A map of any grid that spans the image, at its pixels; (B, *grid) to (B, *spatial)."""
    grid, size = tuple(found.shape[1:]), tuple(image.shape[2:])
    if grid == size:
        return found
    places = Places.even(grid, size)
    if any(hasattr(module, "patch_embed") for module in network.modules()):
        of_tokens = places_of_tokens(network, image)
        places = of_tokens if of_tokens.is_near(places) else places  # or of another resolution
    return places.onto_image(found, size)


def method_names() -> list[str]:
    """All methods there are."""
    return sorted(module.name for module in pkgutil.iter_modules(methods.__path__))


def find_method(name: str) -> Method:
    """The function of a method.

    Raises:
        UsageError: If there is no such method.
    """
    if name not in method_names():
        raise UsageError(f"method must be one of {', '.join(method_names())}, got {name!r}")
    found: Method = getattr(importlib.import_module(f"{methods.__name__}.{name}"), name)
    return found
