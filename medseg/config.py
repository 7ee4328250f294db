"""Read a YAML config, check it, and build the objects it names.

The only module that touches MONAI's ``ConfigParser``: the rest of medseg takes plain Python
arguments and never sees a config. A config is the user's own code: unlike a model folder it may
call what it likes, so run only configs you have read.
"""

import difflib
import importlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from medseg.case import write_cases
from medseg.errors import InputError, UsageError
from medseg.files import write_text
from medseg.jobs import Progress, silent
from medseg.loading.store import open_store
from medseg.model import ModelSpec
from medseg.shipped import shipped
from medseg.training.checkpoints import check_folder
from medseg.training.train import train as train_network

META = "_meta_"  # added by ConfigParser itself
SECTIONS = (
    "seed", "out_dir", "labels", "cases", "preprocessing", "geometry", "network", "loss",
    "optimizer", "schedule", "train_loader", "validation", "settings",
)  # fmt: skip


def find_config(name: str | Path) -> Path:
    """The file of a config given by path or by the name of a shipped one.

    Raises:
        UsageError: If there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    names = shipped("configs")
    if str(name) in names:
        return names[str(name)]
    close = difflib.get_close_matches(str(name), names, n=3) or sorted(names)
    raise UsageError(
        f"config {str(name)!r}: no such file, and none shipped; try {', '.join(close)}"
    )


def load_config(name: str | Path, overrides: Iterable[str] = ()) -> ConfigParser:
    """Read a config by path or shipped name, then apply each ``section::key=value`` override.

    Values are read as JSON (``1e-4``, ``true``, ``[96, 96]``), else kept as text.

    Raises:
        InputError: If the file is no YAML mapping.
        UsageError: If an override names a key the file does not have, or a section or an
            argument does not fit the function it is for.
    """
    path = find_config(name)
    config = ConfigParser()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, "valid YAML", " ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise InputError(path, "a mapping of sections", type(content).__name__)
    config.read_config(content)
    for override in overrides:
        _override(config, path, override)
    check_config(config, path)
    return config


def save_config(config: ConfigParser, path: str | Path) -> None:
    """Write the config with its overrides applied, so that it can be run again."""
    content = {key: value for key, value in config.get().items() if key != META}
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def check_config(config: ConfigParser, path: str | Path) -> None:
    """Check that every section is there and every ``_target_`` takes the arguments given.

    Raises:
        UsageError: Naming the section, the function and what does not fit.
    """
    missing = [section for section in SECTIONS if section not in config]
    if missing:
        raise UsageError(f"{path}: expected the sections {', '.join(missing)}, got none of them")
    _check_targets(config.get(), path, "")


def model_spec(config: ConfigParser) -> ModelSpec:
    """What the model folder will say of the network, as plain data.

    Raises:
        UsageError: If the network's channels do not fit the organs or the neighbouring slices.
    """
    spec = ModelSpec(
        network=_plain(config, "network"),
        labels=config.get_parsed_content("labels"),
        preprocessing=config.get_parsed_content("preprocessing"),
        geometry=config.get_parsed_content("geometry"),
    )
    _check_channels(spec)
    return spec


def _check_channels(spec: ModelSpec) -> None:
    """Hold the network's channels against the organs and the neighbouring slices."""
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
                f"{', '.join(spec.labels)} and {spec.geometry.channels} slices as channels, "
                f"got {spec.network[key]}"
            )


def train(
    config: str | Path,
    overrides: Iterable[str] = (),
    *,
    resume: bool = False,
    overwrite: bool = False,
    workers: int = 2,
    progress: Progress = silent,
) -> Path:
    """Train the network of a config and return the run folder.

    Besides what training writes, the folder gets ``config.yaml`` and a case list per split in
    ``cases/``, which ``predict`` and ``evaluate`` take.

    Args:
        config: YAML file, or the name of a shipped config.
        overrides: ``"section::key=value"``, such as ``"settings::device=cpu"``.
        resume: Go on from the last checkpoint in the run folder, if there is one.
        overwrite: Delete a run that is in the run folder already.
        workers: Processes that fill the slice store.
        progress: Hears of every case prepared and every iteration.

    Raises:
        UsageError: If the config does not fit together, or the folder holds a run.
        InputError: If cases cannot be used; it names all of them.
    """
    parsed = load_config(config, overrides)
    build = parsed.get_parsed_content
    out_dir, spec = Path(build("out_dir")), model_spec(parsed)
    check_folder(out_dir, resume=resume, overwrite=overwrite)
    set_determinism(build("seed"))
    _fill_store(parsed, workers, progress)
    save_config(parsed, out_dir / "config.yaml")
    for split in parsed["cases"]:
        write_cases(out_dir / "cases" / f"{split}.json", build(f"cases::{split}"))
    return train_network(
        build("network"),
        build("loss"),
        build("optimizer"),
        build("train_loader"),
        schedule=build("schedule"),
        validation=build("validation"),
        settings=replace(build("settings"), resume=resume, overwrite=overwrite),
        model=spec,
        out_dir=out_dir,
        progress=progress,
    )


def _fill_store(config: ConfigParser, workers: int, progress: Progress) -> None:
    """Prepare all cases side by side and in sight; the loaders then find them in the store."""
    build = config.get_parsed_content
    if build("preprocessing").sky is not None:
        return  # exposures are cut into tiles when they are read
    splits = [split for split in ("train", "val") if split in config["cases"]]
    cases = [case for split in splits for case in build(f"cases::{split}")]
    open_store(cases, build("preprocessing"), build("labels"), workers=workers, progress=progress)


def _override(config: ConfigParser, path: Path, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise UsageError(f"override {override!r}: expected section::key=value")
    if key not in config:  # ConfigParser would add it, and a typo would pass unseen
        known = list(_keys(config.get(), ""))
        close = difflib.get_close_matches(key, known, n=3) or list(config.get())
        raise UsageError(f"{path} has no key {key!r} to override; try {', '.join(close)}")
    config[key] = _parse(value)


def _keys(content: Any, prefix: str) -> Iterable[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield prefix + str(key)
            yield from _keys(value, f"{prefix}{key}::")


def _parse(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _check_targets(content: Any, path: str | Path, where: str) -> None:
    if isinstance(content, list):
        for index, value in enumerate(content):
            _check_targets(value, path, f"{where}::{index}")
    if not isinstance(content, dict):
        return
    if "_target_" in content:
        _check_binding(content, path, where)
    for key, value in content.items():
        _check_targets(value, path, f"{where}::{key}" if where else str(key))


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


def _plain(config: ConfigParser, key: str) -> Any:
    """The content at ``key`` with references replaced by what they point to."""
    content = config.get(key)
    if isinstance(content, dict):
        return {name: _plain(config, f"{key}::{name}") for name in content}
    if isinstance(content, list):
        return [_plain(config, f"{key}::{index}") for index in range(len(content))]
    value = config.get_parsed_content(key)
    if value is not None and not isinstance(value, (str, int, float, bool, list, tuple, dict)):
        raise UsageError(f"{key}: expected plain data that a model card can hold, got {value!r}")
    return value
