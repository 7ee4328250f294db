"""Verbs that act on files of cases: check, roc, report."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import AsJson, Device, Quiet, Workers, app
from medseg.errors import CasesFailedError, InputError
from medseg.terminal import Bars, answer, say, show_check, show_roc


@app.command()
def check(
    folder: Annotated[Path, typer.Option("-i", "--input", help="Data set, or a case list (JSON).")],
    dataset: Annotated[str | None, typer.Option(help="Its layout, if not recognised.")] = None,
    tolerance_mm: Annotated[float, typer.Option(help="Grids this close are the same.")] = 0.01,
    workers: Workers = 2,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Look through a data set for whatever would spoil training; exit 3 if it has faults.

    Example: `medseg check -i data/hippocampus`
    """
    from medseg.datasets.check import check as check_dataset

    with Bars(not no_progress) as bars:
        found = check_dataset(
            folder, dataset=dataset, workers=workers, tolerance_mm=tolerance_mm, progress=bars
        )
    answer(found.to_plain(), as_json, lambda plain: show_check(plain, folder))
    if not found.ok:
        raise typer.Exit(InputError.exit_code)


@app.command()
def roc(
    source: Annotated[Path, typer.Option("-i", "--input", help="Case list, or exposures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the curve.")],
    model: Annotated[Path, typer.Option("-m", "--model", help="Model folder or run folder.")],
    fpr: Annotated[float, typer.Option(help="False-positive rate; 1e-4 is 0.01 %.")] = 1e-4,
    code: Annotated[int, typer.Option(help="What means cosmic ray in FITS quality maps.")] = 5,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Windows per forward pass.")] = 4,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Score a model for cosmic rays: the true-positive rate at a false-positive rate.

    Example: `medseg roc -i runs/decam_transunet/cases/test.json -m runs/decam_transunet -o roc`
    """
    from medseg.inference.predict import PredictSettings
    from medseg.roc import roc as run_roc

    settings = PredictSettings(device=device, batch_size=batch_size)
    with Bars(not no_progress) as bars:
        found = run_roc(
            source, output, model=model, fpr=fpr, code=code, settings=settings, progress=bars
        )
    answer(found, as_json, lambda plain: show_roc(plain, output))
    failed = [case for case in found["cases"] if case["status"] != "done"]
    stop_if_failed([(case["case_id"], case["error"]) for case in failed], len(found["cases"]))


@app.command()
def report(
    results: Annotated[Path, typer.Option("-i", "--input", help="Results or comparison.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file.")],
    run: Annotated[Path | None, typer.Option(help="Run folder, for the curves.")] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show slices, contours and viewers.")
    ] = True,
    explanations: Annotated[
        Path | None, typer.Option(help="Output of medseg explain, to show and link.")
    ] = None,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Write one HTML file: tables, plots, and a viewer of the worst, median and best case.

    Example: `medseg report -i results -o report.html --run runs/phantom_transunet`
    """
    from medseg.report.report import report as write_report

    with Bars(not no_progress) as bars:
        page = write_report(
            results, output, run=run, images=images, explanations=explanations, progress=bars
        )
    answer({"report": str(page)}, as_json, lambda _: say(f"Report: {page}"))


def stop_if_failed(failures: list[tuple[str, str]], total: int) -> None:
    """Name the cases that failed, and end with the exit code for it.

    Raises:
        CasesFailedError: If there are any.
    """
    for case_id, error in failures:
        say(f"failed: {case_id}: {error}")
    if failures:
        raise CasesFailedError(f"{len(failures)} of {total} cases failed; the others are written")
