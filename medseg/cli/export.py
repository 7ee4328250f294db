"""Verbs around what leaves the house: exports and their proof."""

from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.app import AsJson, Overwrite, Quiet, app
from medseg.terminal import Bars, answer, say

Format = Annotated[
    str, typer.Option("--format", help="bundle (MONAI), onnx, torch-export or torchscript.")
]


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Model folder or run folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    format: Format = "bundle",
    images: Annotated[
        list[Path] | None, typer.Option("-i", "--input", help="NIfTI image to prove it on.")
    ] = None,
    about: Annotated[
        Path | None,
        typer.Option(help="JSON or YAML: a bundle's authors, copyright, description, …"),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="results.json of evaluate (or its folder) for the card.")
    ] = None,
    picture: Annotated[
        bool, typer.Option("--picture", help="Show one of the images of -i on a bundle's card.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Write a model as a MONAI bundle, ONNX or torch.export, and prove that it gives the same.

    Examples: `medseg export run -o bundle --results results/`,
    `medseg export run -o onnx --format onnx`
    """
    from medseg.export.export import export as run_export

    with Bars(not no_progress) as bars:
        done = run_export(
            model, output, format=format, images=images or (), about=about, results=results,
            picture=picture, overwrite=overwrite, progress=bars,
        )  # fmt: skip
    answer(done, as_json, _say_proof)
    say(f"Export: {output}")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Export to look at.")],
    trust: Annotated[bool, typer.Option("--trust", help="Run code that it brings.")] = False,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Run an export again and compare it with the label maps of the model it came from.

    An export that holds other code than this version writes is refused; `--trust` runs it on
    this machine with all rights that you have. Example: `medseg verify bundle`
    """
    from medseg.export.export import verify as run_verify

    with Bars(not no_progress) as bars:
        done = run_verify(folder, trust=trust, progress=bars)
    answer(done, as_json, _say_proof)


def _say_proof(done: dict[str, Any]) -> None:
    lowest = done["lowest_organ_dsc"]
    organs = "no organ found" if lowest is None else f"lowest DSC of an organ {lowest:.4f}"
    say(
        f"{done['equal_voxels']:.4%} of voxels equal in {len(done['cases'])} volumes; "
        f"{done['organ_voxels']:,} organ voxels, {organs}; "
        f"logits differ by {done['largest_logit_difference']:.1e} at most"
    )
