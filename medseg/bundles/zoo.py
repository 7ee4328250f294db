"""A bundle in the model zoo's form, checked against the allow-list before anything is built."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.bundles.allowed import INFERERS, NETWORKS, TRANSFORMS
from medseg.bundles.config import (
    BundleConfig,
    Component,
    NotAllowedError,
    read_config,
    read_plain,
)
from medseg.bundles.expressions import MOST_PARTS, has_more_parts
from medseg.errors import ModelError

METADATA = Path("configs", "metadata.json")
SIZES = ("spatial_size", "roi_size", "k", "spatial_border")
LARGEST_SIDE, MOST_VOXELS = 4096, 2**30
SMALLEST_SPACING = 0.02  # mm
LABEL = re.compile(r"[^\x00-\x1f/\\$@%<>]{1,100}")
MAPPED = "MapLabelValued"


@dataclass(frozen=True)
class ZooBundle:
    """What is needed to predict, as plain data: nothing is built yet.

    Attributes:
        network: Dotted path and plain arguments, as :func:`medseg.model.build_network` takes it.
        preprocessing: Transforms by name with their arguments, in order.
        inferer: The same of the inferer.
        postprocessing: As ``preprocessing``.
        labels: Organ → value in the label maps.
        image_key: What the transforms call the image.
    """

    network: Mapping[str, Any]
    preprocessing: tuple[Component, ...]
    inferer: Component
    postprocessing: tuple[Component, ...]
    labels: Mapping[str, int]
    image_key: str


def read_zoo(folder: Path) -> ZooBundle:
    """Read a bundle's config and hold every part of it against the allow-list.

    Raises:
        NotAllowedError: If anything is outside it, with the id at which it stands.
        ModelError: If the bundle is damaged or leaves out what is needed.
    """
    config = read_config(folder)
    config.check_aside()
    before = _transforms(config, "preprocessing")
    after = _transforms(config, "postprocessing")
    return ZooBundle(
        network=_network(config),
        preprocessing=before,
        inferer=_inferer(config),
        postprocessing=after,
        labels=_labels(folder, config, after),
        image_key=_image_key(config, before),
    )


def labels_of(folder: Path) -> dict[str, int]:
    """Names of a bundle's channels and their numbers, from ``metadata.json``; no background.

    Raises:
        ModelError: If the file does not say, or gives a name that cannot be one.
    """
    path = folder / METADATA
    metadata = read_plain(folder, path)
    try:
        names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        found = {str(name): int(channel) for channel, name in names.items()}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path}: expected network_data_format.outputs.pred.channel_def with the organs"
        ) from error
    for name in found:
        if not LABEL.fullmatch(name) or name.startswith("."):
            raise ModelError(f"{path}: channel_def: expected names of organs, got {name!r:.80}")
    if not all(0 <= channel <= 65535 for channel in found.values()) or len(found) < len(names):
        raise ModelError(f"{path}: channel_def: expected every organ once, with its channel")
    return {name: channel for name, channel in found.items() if name.lower() != "background"}


def labels_as_written(folder: Path) -> dict[str, int]:
    """Organ → value in a bundle's label maps; without post-processing that is not understood.

    Raises:
        ModelError: If the bundle is damaged.
    """
    try:
        return dict(read_zoo(folder).labels)
    except NotAllowedError:
        labels = labels_of(folder)
        return {organ: max(1, value) for organ, value in labels.items()}


def _network(config: BundleConfig) -> dict[str, Any]:
    name = "network_def" if "network_def" in config.content else "network"
    component = config.get(name)
    if not isinstance(component, Component):
        raise ModelError(f"{config.path}: {name}: expected a network with _target_")
    target = component.target
    full = target if "." in target else f"monai.networks.nets.{target}"
    if not full.startswith(NETWORKS):
        config.refuse(component.where, f"{target} is not in the allow-list of networks")
    _check_arguments(config, component)
    return {"_target_": full, **component.arguments}


def _inferer(config: BundleConfig) -> Component:
    component = config.get("inferer")
    if not isinstance(component, Component):
        raise ModelError(f"{config.path}: inferer: expected one with _target_")
    return _checked(config, component, "monai.inferers.", INFERERS)


def _transforms(config: BundleConfig, key: str) -> tuple[Component, ...]:
    """The transforms of a ``Compose``, checked."""
    compose = config.get(key)
    if isinstance(compose, Component):
        _checked(config, compose, "monai.transforms.", ("Compose",))
        if set(compose.arguments) != {"transforms"}:
            config.refuse(key, "expected Compose with transforms alone")
        compose = compose.arguments["transforms"]
    if not isinstance(compose, list) or not all(isinstance(one, Component) for one in compose):
        raise ModelError(f"{config.path}: {key}: expected a Compose of transforms")
    return tuple(_checked(config, one, "monai.transforms.", TRANSFORMS[1:]) for one in compose)


def _checked(
    config: BundleConfig, component: Component, package: str, names: tuple[str, ...]
) -> Component:
    """The component under its short name, if the allow-list has it and its arguments are plain."""
    target, short = component.target, component.target.rpartition(".")[2]
    if package == "monai.transforms.":
        short = re.sub(r"(D|Dict)$", "d", short)
    if short not in names or not ("." not in target or target.startswith(package)):
        config.refuse(component.where, f"{target} is not in the allow-list")
    found = Component(short, component.arguments, component.where)
    if short != "Compose":
        _check_arguments(config, found)
    return found


def _check_arguments(config: BundleConfig, component: Component) -> None:
    for name, value in component.arguments.items():
        where = f"{component.where}::{name}"
        if component.target == "Invertd" and name == "transform":
            if not (isinstance(value, Component) and value.where == "preprocessing"):
                config.refuse(where, "expected @preprocessing")
        elif has_more_parts(value, MOST_PARTS) or not _is_plain(value):
            config.refuse(where, "expected plain arguments, and not too many")
        if name in SIZES and not _is_size(value):
            config.refuse(where, f"a size of {value!r:.60} is out of all proportion")
        if name == "pixdim" and not _is_spacing(value):
            config.refuse(where, f"a spacing of {value!r:.60} is out of all proportion")


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    kinds = (str, int, float, bool, type(None), torch.dtype)
    return isinstance(value, kinds) or (isinstance(value, type) and issubclass(value, np.generic))


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, (list, tuple)) else [value] * 3
    numbers = [side for side in sides if isinstance(side, (int, float))]
    if not all(side <= LARGEST_SIDE for side in numbers):
        return False
    return float(np.prod([max(1.0, float(side)) for side in numbers])) <= MOST_VOXELS


def _is_spacing(value: Any) -> bool:
    lengths = value if isinstance(value, (list, tuple)) else [value]
    return all(
        isinstance(one, (int, float)) and not 0 < abs(one) < SMALLEST_SPACING for one in lengths
    )


def _image_key(config: BundleConfig, transforms: tuple[Component, ...]) -> str:
    loading = [one for one in transforms if one.target == "LoadImaged"]
    keys = loading[0].arguments.get("keys") if len(loading) == 1 else None
    key = keys[0] if isinstance(keys, (list, tuple)) and len(keys) == 1 else keys
    if not isinstance(key, str):
        config.refuse("preprocessing", "expected one LoadImaged for one image")
    return str(key)


def _labels(folder: Path, config: BundleConfig, after: tuple[Component, ...]) -> dict[str, int]:
    """Organ → value in the label map, as post-processing numbers the channels."""
    discrete = [one for one in after if one.target == "AsDiscreted"]
    if not discrete:
        config.refuse("postprocessing", "expected AsDiscreted, which makes a label map")
    labels = labels_of(folder)
    if not labels:
        raise ModelError(f"{folder / METADATA}: channel_def: expected an organ, got none")
    if not _true(discrete[-1].arguments.get("argmax")):
        if len(labels) > 1:
            config.refuse("postprocessing", "masks that may overlap are no label map")
        labels = dict.fromkeys(labels, 1)
    for one in after:
        if one.target == MAPPED:
            old, new = (one.arguments.get(f"{name}_labels") for name in ("orig", "target"))
            try:
                values = dict(zip(old, new, strict=True))  # type: ignore[arg-type]
                labels = {organ: int(values.get(v, v)) for organ, v in labels.items()}
            except (TypeError, ValueError):
                config.refuse(one.where, "expected as many target_labels as orig_labels")
    return labels


def _true(value: Any) -> bool:
    return bool(value[0]) if isinstance(value, (list, tuple)) and value else bool(value)
