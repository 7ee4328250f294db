"""Plain data in which a value may say why it is so, and YAML that keeps the reasons as comments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Said:
    """A value and why it was chosen, in a few words on one line."""

    value: Any
    why: str


def plain(content: Any) -> Any:
    """The content without its reasons."""
    if isinstance(content, Said):
        return plain(content.value)
    if isinstance(content, Mapping):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    return content


def reasons(content: Any, where: str = "") -> dict[str, str]:
    """Key of a config, such as ``geometry::patch_size`` → why its value was chosen."""
    if isinstance(content, Said):
        return {where: content.why}
    found: dict[str, str] = {}
    if isinstance(content, Mapping):
        for key, value in content.items():
            found.update(reasons(value, f"{where}::{key}" if where else str(key)))
    return found


def to_yaml(content: Mapping[str, Any], title: str = "") -> str:
    """A YAML document with ``title`` above and every reason behind its value.

    Mappings that hold no reason and are short stand on one line.
    """
    lines = [f"# {line}".rstrip() for line in title.splitlines()]
    for key, value in content.items():
        block = _lines(str(key), value, "")
        if len(block) > 1:
            lines.append("")
        lines += block
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, Said):
        first, *rest = _lines(key, value.value, indent)
        return [f"{first}  # {' '.join(value.why.split())}", *rest]
    flow = f"{indent}{key}: {_flow(plain(value))}"
    short = len(flow) <= 100 and not (indent == "" and _is_call(value))
    if not isinstance(value, Mapping) or not value or (short and not reasons(value)):
        return [flow]
    lines = [f"{indent}{key}:"]
    for name, part in value.items():
        lines += _lines(str(name), part, f"{indent}  ")
    return lines


def _flow(value: Any) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return text.removesuffix("...\n").strip()


def _is_call(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value
