"""Results on disk → one HTML file that stands alone: no network, everything inlined."""

import base64
import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medseg.errors import UsageError
from medseg.files import sha256, write_text
from medseg.jobs import Progress, silent
from medseg.report.colours import organ_colours
from medseg.report.curves import training_curves
from medseg.report.pictures import case_pictures
from medseg.report.read import Run, find_results, read_results, read_run
from medseg.report.spread import spread
from medseg.report.tables import case_rows, organ_rows, overall, worst_and_median

PAGE = Path(__file__).parent
VERSIONS = ("medseg", "numpy", "nibabel", "matplotlib")
FULL_SHADE_BELOW = 0.5  # DSC at which the table's colour is strongest


def report(
    results: str | Path,
    output: str | Path,
    *,
    run: str | Path | None = None,
    title: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Write one HTML file that shows what was measured, on which cases, and how training went.

    Args:
        results: ``results.json`` or the folder that holds it. The images, labels and predictions
            it names are read for the worst and the median case; one that is gone is said to be.
        output: The HTML file to write, whole or not at all.
        run: Run folder of the training, for its curves, config and model card.
        title: Heading of the page.
        progress: Hears of each step.

    Returns:
        The file written.

    Raises:
        InputError: If results or run folder are missing or damaged.
        UsageError: If ``output`` is a folder.
    """
    output, source = Path(output), find_results(results)
    if output.is_dir():
        raise UsageError(f"{output}: expected an HTML file to write, got a folder")
    content = read_results(source)
    trained = None if run is None else read_run(run)
    colours, rows = organ_colours(content["labels"]), case_rows(content)
    organs = organ_rows(content, colours)
    chosen = worst_and_median(rows)
    steps, looks = len(chosen) + 1, []
    for done, (heading, row) in enumerate(chosen.items()):
        progress("Writing report", done, steps, row.case_id)
        looks.append(case_pictures(heading, row, content, colours, source.parent))
    page = {
        **_about(content, source, trained),
        "mean": content["summary"]["mean"],
        "metrics": content["metrics"],
        "organs": organs,
        "measured": sum(row.dsc["mean"] is not None for row in organs),
        "coverage": overall(organs),
        "cases": rows,
        "colours": colours,
        "spread": spread(rows, colours),
        "looks": looks,
        "failures": content["failures"],
        "run": trained,
        "curves": [] if trained is None else training_curves(trained, colours),
    }
    page["title"] = title or page["title"]
    write_text(output, _render(page))
    progress("Writing report", steps, steps, output.name)
    return output


def _render(page: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (PAGE / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        page,
        css=Markup((PAGE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        shade=_shade,
    )


def _about(results: Mapping[str, Any], source: Path, run: Run | None) -> dict[str, Any]:
    """What the page says of itself: heading, origin, and what is needed to repeat it."""
    return {
        "title": _title(len(results["cases"]), run),
        "facts": _facts(results, run),
        "repeat": _repeat(source, run),
        "model_text": "" if run is None else _pretty(run.model),
    }


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
        "Written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Cases": str(len(results["cases"])),
        "Organs": str(len(results["labels"])),
    }
    if run is not None:
        provenance = run.model.get("provenance")
        plain = provenance.items() if isinstance(provenance, dict) else ()
        short = {
            str(key): str(value) for key, value in plain if isinstance(value, (str, int, float))
        }
        facts |= {"Network": _network(run), "Run": run.folder.resolve().name}
        facts |= {key: value for key, value in short.items() if len(value) <= 80}
    return {name: value for name, value in facts.items() if value}


def _repeat(source: Path, run: Run | None) -> dict[str, str]:
    lines = {"Results": str(source.resolve()), "SHA-256 of the results": sha256(source)}
    if run is not None:
        lines["Run folder"] = str(run.folder.resolve())
        weights = run.model.get("weights_sha256")
        lines |= {"SHA-256 of the weights": str(weights)} if weights else {}
    installed = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    return {**lines, "Report written with": f"{installed}, Python {platform.python_version()}"}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _pretty(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) if content else ""


def _shade(dsc: float | None) -> int:
    """How strong the colour of a table cell is, in percent: none at DSC 1."""
    if dsc is None:
        return 0
    return round(70 * min(1.0, (1 - dsc) / (1 - FULL_SHADE_BELOW)))
