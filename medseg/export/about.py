"""What people say of a model that they hand on, from a file or as a mapping."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import InputError
from medseg.files import read_json


def read_about(about: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    """Fields for people, given or from a file: JSON, or YAML by the suffix .yaml or .yml.

    Raises:
        InputError: If the file is no mapping of plain values.
    """
    if not isinstance(about, (str, Path)):
        return dict(about or {})
    path = Path(about)
    content = _read_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else read_json(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(path, "a mapping of fields", type(content).__name__)
    try:
        json.dumps(content)
    except (TypeError, ValueError) as error:  # YAML knows dates, which JSON does not
        raise InputError(path, "texts, numbers and lists", f"{error}", "quote dates") from error
    return content


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, "valid YAML", " ".join(str(error).split())) from error
