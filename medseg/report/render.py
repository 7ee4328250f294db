"""Templates, styles and scripts to the text of one page that asks the network for nothing."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medseg.report.figures import shade

PAGE = Path(__file__).parent / "page"
VENDOR = Path(__file__).parent / "vendor"
STYLES = ("page.css", "tables.css", "charts.css", "cases.css", "narrow.css")
SCRIPTS = ("tables.js", "links.js")


def render(
    template: str,
    page: Mapping[str, Any],
    *,
    viewer: bool = False,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = SCRIPTS,
) -> str:
    """Fill a template.

    The page's policy allows the script that it brings, by hash, images inside the page, and, if
    it has viewers, the exact text of the vendored NiiVue: nothing else runs and nothing is
    fetched.

    Args:
        template: File name in ``report/page``.
        page: What it shows.
        viewer: Whether to bring NiiVue, compressed, for the viewers.
        styles: File names in ``report/page`` beside those that every page has.
        scripts: File names in ``report/page``.
    """
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _joined([*scripts, *(["viewer.js"] if viewer else [])])
    library = (VENDOR / "niivue.umd.js").read_bytes() if viewer else b""
    return environment.get_template(template).render(
        page,
        css=Markup(_joined([*STYLES, *styles])),
        script=Markup(script),
        hashes=[_hash(part) for part in (script.encode(), library) if part],
        library=_packed_library() if viewer else "",
        licence=(VENDOR / "LICENSE-niivue.txt").read_text(encoding="utf-8") if viewer else "",
        shade=shade,
        as_data=as_data,
    )


def as_data(content: Mapping[str, Any] | Sequence[Any]) -> Markup:
    """JSON to stand in a ``script`` element as data; no text in it can end the element."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _joined(names: Sequence[str]) -> str:
    return "".join((PAGE / name).read_text(encoding="utf-8") for name in names)


@cache
def _packed_library() -> str:
    """NiiVue, compressed, as base64."""
    library = (VENDOR / "niivue.umd.js").read_bytes()
    return base64.b64encode(gzip.compress(library, 9, mtime=0)).decode("ascii")


def _hash(script: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script).digest()).decode()
