"""The verb that scores label maps: evaluate."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from medseg.cli.app import AsJson, Cluster, NumParts, PartId, Quiet, Workers, app
from medseg.cli.cases import stop_if_failed
from medseg.cli.tables import show_subgroups
from medseg.terminal import Bars, answer, show_part, show_results

Part = TypeVar("Part")


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Option("-i", "--input", help="Predicted label maps.")],
    truth: Annotated[Path, typer.Option("-l", "--labels", help="True label maps or case list.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    images: Annotated[Path | None, typer.Option(help="Their images, for the report.")] = None,
    organs: Annotated[str | None, typer.Option(help="Organ=value pairs: liver=1,spleen=2.")] = None,
    truth_organs: Annotated[
        str | None, typer.Option(help="The same for the truth, where it differs.")
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="Unions of organs to score besides: tumour=core+oedema.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Only these: dsc,hd95,nsd. All of them unless given.")
    ] = None,
    tolerances: Annotated[str, typer.Option(help="Tolerances of NSD in mm.")] = "1,2",
    convention: Annotated[
        list[str] | None,
        typer.Option(help="Add columns as transunet, medpy, monai or nnunet print them."),
    ] = None,
    missing_as_empty: Annotated[
        bool, typer.Option(help="Count a case without prediction as one that found no organ.")
    ] = False,
    groups: Annotated[
        str | None,
        typer.Option(metavar="FILE[:COLUMN]", help="CSV of the cases; figures per subgroup."),
    ] = None,
    workers: Workers = 2,
    num_parts: NumParts = None,
    part_id: PartId = None,
    merge: Annotated[bool, typer.Option("--merge", help="Gather what the parts did.")] = False,
    cluster: Cluster = None,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Score label maps against truth, organ by organ: overlap, distances, lesions.

    Stopped, it goes on where it was when the same command is given again.

    Examples: `medseg evaluate -i out -l data/labelsTs -o results`,
    `medseg evaluate -i out -l truth -o results --metrics dsc,hd95,nsd --tolerances 1,3`
    """
    from medseg.evaluation.evaluate import add_subgroups
    from medseg.evaluation.evaluate import evaluate as run_evaluation
    from medseg.evaluation.score import Scoring
    from medseg.evaluation.subgroups import read_groups, split_column
    from medseg.jobs import JobSettings
    from medseg.metrics.table import DEFAULT_METRICS

    scoring = Scoring(
        metrics=DEFAULT_METRICS if metrics is None else _listed(metrics, str),
        tolerances_mm=_listed(tolerances, float),
        conventions=convention or (),
        missing_as_empty=missing_as_empty,
        regions={
            name: [part.strip() for part in parts.split("+")]
            for name, parts in _pairs(regions or "", "region=organ+organ").items()
        },
    )
    jobs = JobSettings(num_parts=num_parts, part_id=part_id, merge=merge, cluster=cluster)
    file, column = split_column(groups) if groups else (None, None)
    if file is not None:
        read_groups(file, column)  # a table that cannot be used is told before hours of work
    with Bars(not no_progress) as bars:
        results = run_evaluation(
            predictions, truth, output,
            labels=organ_values(organs), truth_labels=organ_values(truth_organs),
            images=images, scoring=scoring, workers=workers, jobs=jobs, progress=bars,
        )  # fmt: skip
    if file is not None and jobs.part is None:
        results = add_subgroups(output, results, file, by=column)
    answer(results, as_json, _show if jobs.part is None else show_part)
    failures = [(case["case_id"], case["error"]) for case in results["failures"]]
    stop_if_failed(failures, len(results["cases"]) + len(failures))


def _show(results: Mapping[str, Any]) -> None:
    show_results(results)
    if "subgroups" in results:
        show_subgroups(results["subgroups"])


def organ_values(text: str | None) -> dict[str, int | tuple[int, ...]] | None:
    """Read ``organ=value,organ=value+value``."""
    if text is None:
        return None
    named: dict[str, int | tuple[int, ...]] = {}
    for organ, value in _pairs(text, "organ=value").items():
        try:
            values = tuple(int(part) for part in value.split("+"))
        except ValueError:
            raise typer.BadParameter(f"expected organ=value,organ=value, got {text!r}") from None
        named[organ] = values if len(values) > 1 else values[0]
    return named


def _pairs(text: str, wanted: str) -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split(",")] if text else []
    if any(len(pair) != 2 or not all(part.strip() for part in pair) for pair in pairs):
        raise typer.BadParameter(f"expected {wanted},{wanted}, got {text!r}")
    return {name.strip(): what.strip() for name, what in pairs}


def _listed(text: str, kind: Callable[[str], Part]) -> list[Part]:
    try:
        return [kind(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"expected numbers, as in 1,2, got {text!r}") from None
