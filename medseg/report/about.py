"""What a page says of itself: heading, origin, settings, versions and hashes; no folder's name."""

import json
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medseg.files import sha256
from medseg.report.privacy import known_paths, name_of, only_names
from medseg.report.read import Run

VERSIONS = ("medseg", "numpy", "nibabel", "matplotlib")
SHORT = 80  # longer facts do not stand in the head of the page


def about(results: Mapping[str, Any], source: Path, run: Run | None) -> dict[str, Any]:
    """The parts of a page that tell where its figures come from.

    Args:
        results: ``results.json``.
        source: The file itself.
        run: The run folder, if it is known.
    """
    paths = known_paths(results, source) | ({str(run.folder.resolve())} if run else set())
    return {
        "title": _title(len(results["cases"]), run),
        "facts": _facts(results, run),
        "repeat": _repeat(source, run),
        "settings": _plain(results.get("settings"), paths),
        "environment": {"medseg": str(results.get("version", "")),
                        **_plain(results.get("environment"), paths)},
        "hashes_of_files": _hashes(results),
        "config_text": "" if run is None else only_names(run.config, paths),
        "model_text": "" if run is None else only_names(_pretty(run.model), paths),
        "failures": [
            {"case_id": failure["case_id"], "error": only_names(failure["error"], paths)}
            for failure in results["failures"]
        ],
    }  # fmt: skip


def installed(names: tuple[str, ...] = VERSIONS) -> str:
    """The versions of the packages that write a page."""
    return f"{', '.join(f'{name} {_version(name)}' for name in names)}, Python " + (
        platform.python_version()
    )


def now() -> str:
    """The time of writing, for the head of a page."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _title(cases: int, run: Run | None) -> str:
    name = "" if run is None else _network(run)
    counted = f"{cases} case" + ("" if cases == 1 else "s")
    return f"{name}: segmentation of {counted}" if name else f"Segmentation of {counted}"


def _network(run: Run) -> str:
    network = run.model.get("network")
    target = network.get("_target_") if isinstance(network, dict) else None
    return str(target or "").rpartition(".")[2]


def _facts(results: Mapping[str, Any], run: Run | None) -> dict[str, str]:
    facts = {
        "Written": now(),
        "Cases": str(len(results["cases"])),
        "Organs": str(len(results["labels"])),
    }
    if run is not None:
        provenance = run.model.get("provenance")
        plain = provenance.items() if isinstance(provenance, dict) else ()
        short = {
            str(key): only_names(str(value))
            for key, value in plain
            if isinstance(value, (str, int, float))
        }
        facts |= {"Network": _network(run), "Run": run.folder.resolve().name}
        facts |= {key: value for key, value in short.items() if len(value) <= SHORT}
    return {name: value for name, value in facts.items() if value}


def _repeat(source: Path, run: Run | None) -> dict[str, str]:
    lines = {"Results": source.name, "SHA-256 of the results": sha256(source)}
    if run is not None:
        lines["Run folder"] = run.folder.resolve().name
        weights = run.model.get("weights_sha256")
        lines |= {"SHA-256 of the weights": str(weights)} if weights else {}
    return {**lines, "Report written with": installed()}


def _plain(content: Any, paths: set[str]) -> dict[str, str]:
    """A mapping of the results as lines of text; empty where an older file has none."""
    if not isinstance(content, dict):
        return {}
    return {str(key): only_names(_line(value), paths) for key, value in content.items()}


def _line(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_line, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_line(part)}" for key, part in value.items()) or "none"
    return "none" if value is None else str(value)


def _hashes(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """One line per file of a case: its role, its name without folder, and its SHA-256."""
    lines = []
    for case in results["cases"]:
        known = case.get("sha256")
        for role, digest in known.items() if isinstance(known, dict) else ():
            source = case.get(role)
            first = source[0] if isinstance(source, list) and source else source
            name = name_of(str(first or ""))
            lines.append({"case_id": case["case_id"], "role": str(role), "name": name,
                          "sha256": _line(digest)})  # fmt: skip
    return lines


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _pretty(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) if content else ""
