"""The config of a bundle as plain data: references resolved, components checked, nothing built."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medseg.bundles.allowed import ASIDE_TARGETS
from medseg.bundles.expressions import UnsafeError, check_aside, evaluate
from medseg.errors import ModelError

NAMES = ("inference.json", "inference.yaml", "inference.yml")
LARGEST_CONFIG = 4 << 20  # bytes
MOST_PARTS = 100_000  # of a config; YAML can fold far more into a few lines
NOTES = ("_desc_", "_mode_", "_disabled_", "_requires_", "_target_")
NEVER_BUILT = ("SaveImaged", "SaveImageD", "SaveImageDict")  # medseg writes
LEFT_TO_SETTINGS = ("device", "sw_device", "progress")  # of a prediction
ASK = "--trust runs it all the same, with whatever code it brings"


class NotAllowedError(ModelError):
    """A bundle that names more than the allow-list holds: nothing of it was run (exit code 6)."""


@dataclass(frozen=True)
class Component:
    """Something a config wants built: its dotted path and arguments, references resolved."""

    target: str
    arguments: dict[str, Any]
    where: str


@dataclass
class BundleConfig:
    """``configs/inference.json`` or ``.yaml`` of a bundle.

    Attributes:
        path: The file, for errors.
        content: What it says, as it stands there.
    """

    path: Path
    content: dict[str, Any]
    _found: dict[str, Any] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def get(self, key: str) -> Any:
        """The value at an id such as ``inferer`` or ``network_def::channels``, resolved.

        Raises:
            NotAllowedError: If it is no plain data and outside the safe set.
            ModelError: If there is none, or it refers to itself.
        """
        key = key.replace("#", "::")
        if key in self._found:
            return self._found[key]
        if key in self._open:
            raise ModelError(f"{self.path}: {key}: refers to itself")
        self._open.append(key)
        self._found[key] = self._resolved(self._raw(key), key)
        self._open.remove(key)
        return self._found[key]

    def check_aside(self) -> None:
        """Look through what a prediction has no use for; it is never run, and must be harmless.

        Raises:
            NotAllowedError: If it holds what an honest bundle has no use for.
        """
        for where, key, value in _parts(self.content, ""):
            if not isinstance(key, (str, int)) or str(key).startswith(("$", "@", "%")):
                self.refuse(where, f"expected plain names, got {key!r}")
            if key == "_requires_":
                self.refuse(where, "_requires_ is not in the safe set")
            if key == "_target_":
                self._check_target_aside(where, value)
            elif isinstance(value, str) and value.startswith("$"):
                try:
                    check_aside(value[1:])
                except UnsafeError as error:
                    self.refuse(where, f"{_short(value)}: {error}")
            elif isinstance(value, str) and value.startswith("%"):
                self._macro(value, where)

    def refuse(self, where: str, reason: str) -> None:
        """Refuse the bundle for what stands at an id.

        Raises:
            NotAllowedError: Always.
        """
        raise NotAllowedError(f"{self.path}: {where}: {reason}; {ASK}")

    def _check_target_aside(self, where: str, value: Any) -> None:
        plain = isinstance(value, str) and re.fullmatch(r"\w+(\.\w+)*", value)
        ours = plain and (value.startswith((*ASIDE_TARGETS, "medseg.")) or "." not in value)
        if not ours or value.rpartition(".")[2].startswith(("Lambda", "_")):
            self.refuse(where, f"{_short(value)} is not in the allow-list")

    def _raw(self, key: str) -> Any:
        value: Any = self.content
        for name in key.split("::"):
            try:
                value = value[int(name) if isinstance(value, list) else name]
            except (LookupError, TypeError, ValueError):
                raise ModelError(f"{self.path}: expected an entry {key!r}, got none") from None
        return value

    def _resolved(self, value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return self._component(value, where) if "_target_" in value else {
                key: self._resolved(part, f"{where}::{key}") for key, part in value.items()
            }  # fmt: skip
        if isinstance(value, list):
            parts = (self._resolved(part, f"{where}::{i}") for i, part in enumerate(value))
            return [part for part in parts if part is not _LEFT_OUT]
        return self._text(value, where) if isinstance(value, str) else value

    def _text(self, value: str, where: str) -> Any:
        if value.startswith("%"):
            return self.get(self._macro(value, where))
        if value.startswith("@"):
            if not re.fullmatch(r"@\w+(?:(?:::|#)\w+)*", value):
                self.refuse(where, f"{_short(value)}: expected a reference by full id")
            return self.get(value[1:])
        if not value.startswith("$"):
            return value
        try:
            return evaluate(value[1:], self.get)
        except UnsafeError as error:
            return self.refuse(where, f"{_short(value)}: {error}")

    def _macro(self, value: str, where: str) -> str:
        """The id that a macro copies, within this file alone."""
        if not re.fullmatch(r"%\w+(?:(?:::|#)\w+)*", value):
            self.refuse(where, f"{_short(value)}: expected a macro on an id of this file")
        return value[1:]

    def _component(self, value: dict[str, Any], where: str) -> Any:
        target = value["_target_"]
        if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)*", target):
            self.refuse(where, f"{_short(target)} is not in the allow-list")
        if "_requires_" in value or value.get("_mode_", "default") != "default":
            self.refuse(where, "_requires_ and _mode_ are not in the safe set")
        disabled = self._resolved(value.get("_disabled_", False), f"{where}::_disabled_")
        if disabled is True or (isinstance(disabled, str) and disabled.lower() == "true"):
            return _LEFT_OUT
        unused = target.rpartition(".")[2] in NEVER_BUILT
        arguments = {} if unused else {
            key: self._resolved(part, f"{where}::{key}")
            for key, part in value.items() if key not in (*NOTES, *LEFT_TO_SETTINGS)
        }  # fmt: skip
        return Component(target, arguments, where)


_LEFT_OUT = object()


def find_config(folder: Path) -> Path | None:
    """The config of a bundle that says how to predict, or ``None``."""
    paths = (folder / "configs" / name for name in NAMES)
    return next((path for path in paths if path.is_file()), None)


def read_config(folder: Path) -> BundleConfig:
    """Read a bundle's config as plain data.

    Raises:
        ModelError: If there is none, or it is damaged.
    """
    path = find_config(folder)
    if path is None:
        raise ModelError(f"{folder}: expected a bundle with configs/inference.json, got none")
    content = read_plain(folder, path)
    return BundleConfig(path, content)


def read_plain(folder: Path, path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file of a bundle, which must lie within it.

    Raises:
        ModelError: If it is missing, a link out of the bundle, too large or damaged.
    """
    refuse_outside(folder, path)
    if path.stat().st_size > LARGEST_CONFIG:
        raise ModelError(f"{path}: expected a config, got {path.stat().st_size:,} bytes")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(content, dict):
            raise ModelError(f"{path}: expected a mapping, got {type(content).__name__}")
        for count, _ in enumerate(_parts(content, "")):
            if count > MOST_PARTS:
                raise ModelError(f"{path}: expected a config, got more than {MOST_PARTS:,} parts")
    except (ValueError, yaml.YAMLError, RecursionError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: expected valid JSON or YAML, got: {said}") from error
    return content


def refuse_outside(folder: Path, path: Path) -> None:
    """Refuse a missing file, and a link out of the folder.

    Raises:
        ModelError: If so.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a file of the bundle, got no such file")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{path}: expected a file in the bundle, got a link out of it")


def _parts(value: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Every part of nested data: its id, its key, itself."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in pairs:
        inner = f"{where}::{key}" if where else str(key)
        yield inner, key, part
        if isinstance(part, (dict, list)):
            yield from _parts(part, inner)


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
