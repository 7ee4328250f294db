"""Whether the parts that a config names are there, take their arguments and fit together."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import UsageError
from medseg.loading.geometry import PatchGeometry
from medseg.model import ModelSpec


def check_targets(content: Any, path: str | Path, where: str = "") -> None:
    """Check every ``_target_`` within ``content``.

    Args:
        content: The plain content of a config, or a part of it.
        path: The config's file, for the message.
        where: The section that ``content`` is.

    Raises:
        UsageError: Naming the section, the function and what does not fit.
    """
    if isinstance(content, list):
        for index, value in enumerate(content):
            check_targets(value, path, f"{where}::{index}")
    if not isinstance(content, dict):
        return
    if "_target_" in content:
        _check_binding(content, path, where)
    for key, value in content.items():
        check_targets(value, path, f"{where}::{key}" if where else str(key))


def check_channels(spec: ModelSpec) -> None:
    """Hold the network's channels and axes against the organs and what it is shown.

    Raises:
        UsageError: If they do not fit.
    """
    organs = len(spec.labels)
    outputs = {organs + 1} | ({1} if organs == 1 else set())
    wanted = {
        "num_classes": outputs,
        "out_channels": outputs,
        "in_channels": {spec.geometry.channels},
    }
    for key, allowed in wanted.items():
        if key in spec.network and spec.network[key] not in allowed:
            raise UsageError(
                f"network::{key}: expected {' or '.join(map(str, sorted(allowed)))} for the organs "
                f"{', '.join(spec.labels)} and {_input_of(spec)}, got {spec.network[key]}"
            )
    axes = spec.network.get("spatial_dims", len(spec.geometry.input_shape) - 1)
    if axes != len(spec.geometry.input_shape) - 1:
        raise UsageError(
            f"network::spatial_dims: expected {len(spec.geometry.input_shape) - 1} for "
            f"{_input_of(spec)}, got {axes}"
        )


def _input_of(spec: ModelSpec) -> str:
    if isinstance(spec.geometry, PatchGeometry):
        return "patches of " + " x ".join(map(str, spec.geometry.patch_size))
    return f"{spec.geometry.channels} slices as channels"


def _check_binding(content: Mapping[str, Any], path: str | Path, where: str) -> None:
    target = str(content["_target_"])
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{path}, {where}: no {target!r} to call ({error})") from error
    arguments = {key: value for key, value in content.items() if not key.startswith("_")}
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        raise UsageError(f"{path}, {where}: {target} does not fit: {error}") from error
    except ValueError:  # some built-ins have no signature to hold the config against
        return
