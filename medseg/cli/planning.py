"""The verb plan, and how its answer is shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.app import AsJson, Device, Overwrite, Quiet, Workers, app
from medseg.terminal import Bars, answer


@app.command()
def plan(
    data: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Config to write, .yaml.")],
    network: Annotated[
        str | None, typer.Option(help="transunet_3d, unet_3d, transunet or unet.")
    ] = None,
    dims: Annotated[str, typer.Option(help="auto, 2 or 3.")] = "auto",
    memory: Annotated[
        float | None, typer.Option(help="GB that training may take; default: what is free.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Organs, as names, 'liver=1,spleen=2', or a JSON file."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Its layout, if not recognised.")] = None,
    check: Annotated[
        bool | None,
        typer.Option("--check/--no-check", help="Try a real step; default: if it is quick."),
    ] = None,
    device: Device = "auto",
    workers: Workers = 2,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Propose a config from a data set and the memory at hand, with a reason for each number.

    Examples: `medseg plan data/hippocampus -o mine.yaml --memory 8`,
    `medseg plan data/abdomen -o mine.yaml --network unet_3d --labels liver,spleen --json`
    """
    from medseg.plan.plan import plan as make_plan

    with Bars(not no_progress) as bars:
        found = make_plan(
            data, output, network=network, dims=dims, memory=memory, labels=_organs(labels),
            dataset=dataset, device=device, check=check, overwrite=overwrite, workers=workers,
            progress=bars,
        )  # fmt: skip
    answer(found, as_json, show_plan)


def show_plan(found: Mapping[str, Any]) -> None:
    """The fingerprint, what was chosen and why, and the memory."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True)
    console.print(_fingerprint_table(found["fingerprint"]))
    organs = Table("organ", "ml", "extent in mm", "of the volume", box=SIMPLE_HEAD, pad_edge=False)
    for name, organ in found["fingerprint"]["organs"].items():
        extent = _times(organ["extent_mm"])
        organs.add_row(name, f"{organ['millilitres']:g}", extent, f"{organ['share']:.2%}")
    console.print(organs)
    chosen = Table("chosen", "value", "because", box=SIMPLE_HEAD, pad_edge=False)
    chosen.add_row("dimensions", f"{found['dims']['value']}", found["dims"]["why"])
    for key, why in found["reasons"].items():
        chosen.add_row(key.replace("::", " "), str(_at(found["content"], key)), why)
    console.print(chosen)
    console.print(_memory(found), soft_wrap=True, highlight=False)


def _fingerprint_table(found: Mapping[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{found['cases']} cases ({found['modality']})"
    table = Table(title, "least", "median", "most", box=SIMPLE_HEAD, pad_edge=False)
    for key, label in (("shape", "voxels"), ("spacing_mm", "spacing, mm"), ("extent_mm", "mm")):
        table.add_row(label, *(_times(found[key][part]) for part in ("least", "median", "most")))
    return table


def _memory(found: Mapping[str, Any]) -> str:
    memory, seconds = found["memory"], found["seconds_per_step"]
    said = f"Memory: {memory['limit_gb']:.3g} GB allowed, {memory['estimate_gb']:.2f} GB estimated"
    if seconds is not None:
        said += f", {memory['measured_gb']:.2f} GB in a real step, which took {seconds:.1f} s: "
        said += f"about {found['hours']:.1f} hours for all"
    return f"{said}\nWritten: {found['config']}; next: medseg train {found['config']}"


def _organs(labels: str | None) -> str | dict[str, int] | list[str] | None:
    """Names, organ → value, or the path of a file, as given on the command line."""
    if labels is None or Path(labels).is_file():
        return labels
    parts = [part.strip() for part in labels.split(",") if part.strip()]
    pairs = [part.rpartition("=") for part in parts]
    if not all(name and value.strip().isdecimal() for name, _, value in pairs):
        return parts
    return {name.strip(): int(value) for name, _, value in pairs}


def _at(content: Any, key: str) -> Any:
    for part in key.split("::"):
        content = content[part]
    return content


def _times(sizes: list[float]) -> str:
    return " × ".join(f"{size:.4g}" for size in sizes)
