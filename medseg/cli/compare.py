"""The verb that compares models: compare."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import AsJson, app
from medseg.cli.tables import show_comparison
from medseg.terminal import answer


@app.command()
def compare(
    results: Annotated[
        list[Path], typer.Argument(help="results.json or its folder, of each model.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the comparison.")],
    names: Annotated[str | None, typer.Option(help="Of the models: ours,theirs.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="dsc, hd95, nsd, …; repeat; the first decides.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Chance of a false alarm.")] = 0.05,
    resamples: Annotated[int, typer.Option(help="Of the cases, for intervals and ranks.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Every two models, not each with the first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare models case by case with the first: differences, intervals, tests, ranks.

    Example: `medseg compare results/unet results/transunet -o comparison`
    """
    from medseg.evaluation.compare import compare as run_comparison

    found = run_comparison(
        results,
        output,
        names=None if names is None else names.split(","),
        metrics=metric or None,
        alpha=alpha,
        resamples=resamples,
        seed=seed,
        all_pairs=all_pairs,
    )
    answer(found, as_json, lambda plain: show_comparison(plain, output))
