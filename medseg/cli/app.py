"""The Typer application, and the options that several verbs share."""

from typing import Annotated

import typer

app = typer.Typer(
    name="medseg",
    help="Segment organs in CT and MRI, and trust the figures that come out.",
    epilog="Start with `medseg demo`: it makes phantom CTs, trains, predicts and reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--no-progress", help="Show no progress bars.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
Resume = Annotated[
    bool, typer.Option("--overwrite/--resume", help="Do all anew, or go on where it was stopped.")
]
NumParts = Annotated[
    int | None, typer.Option(min=1, help="Split the cases into so many array jobs.")
]
PartId = Annotated[int | None, typer.Option(min=0, help="Which of them, from 0.")]
Cluster = Annotated[
    str | None, typer.Option(help="Dask scheduler that computes instead: tcp://host:8786.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]
