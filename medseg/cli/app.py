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
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]
