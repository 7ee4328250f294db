"""Read a YAML config, check it, and build the objects it names.

The only module that touches MONAI's ``ConfigParser``: the rest of medseg takes plain Python
arguments and never sees a config. A config is the user's own code: unlike a model folder it may
call what it likes, so run only configs you have read.
"""

import difflib
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.utils import set_determinism
from torch import nn

from medseg.bindings import check_channels, check_targets
from medseg.case import write_cases
from medseg.errors import InputError, MedsegError, UsageError
from medseg.files import read_json, write_json, write_text
from medseg.jobs import Progress, silent
from medseg.loading.store import open_store
from medseg.model import ModelSpec
from medseg.networks.pretrained import as_paths, load_pretrained
from medseg.shipped import shipped
from medseg.training.checkpoints import check_folder
from medseg.training.train import train as train_network

META = "_meta_"  # added by ConfigParser itself
PRETRAINED = "network::pretrained"  # what the network starts from; no argument of its class
ASIDE = "_pretrained_"  # where it is kept while the network's arguments are the class's alone
START = "pretrained.json"  # in the run folder: which weights it started from
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
    _set_aside(config)
    check_config(config, path)
    return config


def save_config(config: ConfigParser, path: str | Path) -> None:
    """Write the config with its overrides applied, so that it can be run again."""
    content = {key: value for key, value in config.get().items() if key not in (META, ASIDE)}
    if ASIDE in config:
        content["network"] = {**content["network"], "pretrained": config[ASIDE]}
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def check_config(config: ConfigParser, path: str | Path) -> None:
    """Check that every section is there and every ``_target_`` takes the arguments given.

    Raises:
        UsageError: Naming the section, the function and what does not fit.
    """
    missing = [section for section in SECTIONS if section not in config]
    if missing:
        raise UsageError(f"{path}: expected the sections {', '.join(missing)}, got none of them")
    check_targets(config.get(), path)


def pretrained_of(config: ConfigParser) -> list[Path]:
    """The files of weights that the network starts from: ``network::pretrained``.

    Raises:
        ModelError: If one is missing.
        UsageError: If it is neither a path nor a list of paths.
    """
    value = config.get_parsed_content(ASIDE) if ASIDE in config else None
    paths = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(path, str) and path for path in paths):
        raise UsageError(f"{PRETRAINED}: expected a path, a list of paths or null, got {value!r}")
    return as_paths(paths)


def build_network(config: ConfigParser, *, pretrained: bool = True) -> tuple[nn.Module, ModelSpec]:
    """Build the network, load the weights it starts from, and say both for the model folder.

    Args:
        config: From ``load_config``.
        pretrained: Whether to load ``network::pretrained``.

    Raises:
        ModelError: If a file of weights is missing, damaged or for another network.
        UsageError: If the network's channels do not fit the organs or the neighbouring slices.
    """
    spec, paths = model_spec(config), pretrained_of(config) if pretrained else []
    network: nn.Module = _build(config, "network")
    if not paths:
        return network, spec
    report = load_pretrained(network, paths)
    return network, replace(spec, origin={"pretrained": report.provenance()})


def model_spec(config: ConfigParser) -> ModelSpec:
    """What the model folder will say of the network, as plain data.

    Raises:
        UsageError: If the network's channels do not fit the organs or the neighbouring slices.
    """
    spec = ModelSpec(
        network=_plain(config, "network"),
        labels=config.get_parsed_content("labels"),
        preprocessing=_build(config, "preprocessing"),
        geometry=_build(config, "geometry"),
        inference=_inference(config),
    )
    check_channels(spec)
    return spec


def _inference(config: ConfigParser) -> dict[str, Any]:
    """What the loss says of the network's output: masks of their own, or classes."""
    loss = config.get("loss")
    while isinstance(loss, dict):
        if str(loss.get("_target_", "")).endswith(".BCEDiceLoss"):
            return {"activation": "sigmoid"}
        loss = loss.get("loss")  # of deep supervision, the loss of one size
    return {}


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
    build = partial(_build, parsed)
    out_dir = Path(build("out_dir"))
    check_folder(out_dir, resume=resume, overwrite=overwrite)
    set_determinism(build("seed"))
    network, spec = _begin(parsed, out_dir, resumed=resume and not overwrite)
    _fill_store(parsed, workers, progress)
    save_config(parsed, out_dir / "config.yaml")
    for split in parsed["cases"]:
        write_cases(out_dir / "cases" / f"{split}.json", build(f"cases::{split}"))
    return train_network(
        network,
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


def _begin(config: ConfigParser, out_dir: Path, *, resumed: bool) -> tuple[nn.Module, ModelSpec]:
    """The network as training starts from it; a checkpoint does without the published weights."""
    note = out_dir / START
    if resumed and any(
        (out_dir / "checkpoints" / name).exists() for name in ("last.pt", "best.pt")
    ):
        network, spec = build_network(config, pretrained=False)
        return network, replace(spec, origin=read_json(note) if note.exists() else {})
    network, spec = build_network(config)
    if spec.origin:
        write_json(note, spec.origin)
    else:
        note.unlink(missing_ok=True)
    return network, spec


def _fill_store(config: ConfigParser, workers: int, progress: Progress) -> None:
    """Prepare all cases side by side and in sight; the loaders then find them in the store."""
    build = config.get_parsed_content
    if build("preprocessing").sky is not None:
        return  # exposures are cut into tiles when they are read
    splits = [split for split in ("train", "val") if split in config["cases"]]
    cases = [case for split in splits for case in build(f"cases::{split}")]
    open_store(cases, build("preprocessing"), build("labels"), workers=workers, progress=progress)


def _set_aside(config: ConfigParser) -> None:
    """Take ``network::pretrained`` from the arguments of the network's class.

    A flag of that name, as some of MONAI's networks have, stays an argument.
    """
    network = config.get().get("network")
    if isinstance(network, dict) and not isinstance(network.get("pretrained", False), bool):
        config[ASIDE] = network.pop("pretrained")


def _override(config: ConfigParser, path: Path, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise UsageError(f"override {override!r}: expected section::key=value")
    if (
        key not in config and key != PRETRAINED
    ):  # ConfigParser would add it, and a typo would pass unseen
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


def _build(config: ConfigParser, key: str) -> Any:
    """The object at ``key``; what it says itself of its arguments comes as it is."""
    try:
        return config.get_parsed_content(key)
    except RuntimeError as error:  # ConfigParser's, around it
        if isinstance(error.__cause__, MedsegError):
            raise error.__cause__ from error
        raise


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
