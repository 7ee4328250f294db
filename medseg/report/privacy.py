"""Paths out of what a page says: folders often carry the names of people."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# an absolute path, POSIX or Windows, down to its last part; a part may hold blanks inside
ABSOLUTE = re.compile(
    r"(?<![\w.…<)\]/\\])(?:~|[A-Za-z]:|file:)?[/\\]+(?=\S)"
    r"(?:[^/\\\n:'\",<>]*[^/\\\s:'\",<>][/\\]+)+([^/\\\s:'\",<>]*)"
)
SEPARATOR = re.compile(r"[/\\]")


def only_names(text: str, known: Iterable[str] = ()) -> str:
    """A text in which absolute paths are cut to their last part.

    Args:
        text: A message, a config, a card.
        known: Paths that are certain to be such, blanks and all; they go first.
    """
    for path in sorted({path for path in known if SEPARATOR.search(path[:-1])}, key=len)[::-1]:
        text = text.replace(f"{path}/", "").replace(path, name_of(path))
    return ABSOLUTE.sub(lambda match: f"…/{match[1]}", text)


def name_of(path: str) -> str:
    """The last part of a path of any system."""
    return SEPARATOR.split(path.rstrip("/\\"))[-1]


def known_paths(results: Mapping[str, Any], source: Path) -> set[str]:
    """Every path that the results name, with the folders around them."""
    paths = {str(source.resolve())}
    for case in results["cases"]:
        for key in ("prediction", "label", "image"):
            value = case.get(key)
            paths |= {str(part) for part in (value if isinstance(value, list) else [value]) if part}
    return paths | {str(Path(path).parent) for path in paths if Path(path).is_absolute()}
