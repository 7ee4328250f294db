"""The verb that scores label maps: evaluate."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from medseg.cli.app import AsJson, Cluster, NumParts, PartId, Quiet, Workers, app
from medseg.cli.cases import stop_if_failed
from medseg.cli.tables import show_subgroups
from medseg.terminal import Bars, answer, show_part, show_results

if TYPE_CHECKING:
    from medseg.evaluation.score import Scoring

Part = TypeVar("Part")


Predictions = Annotated[Path, typer.Option("-i", "--input", help="Predicted label maps.")]
Truth = Annotated[Path, typer.Option("-l", "--labels", help="True label maps or case list.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")]
Images = Annotated[Path | None, typer.Option(help="Their images, for the report.")]
Organs = Annotated[str | None, typer.Option(help="Organ=value pairs: liver=1,spleen=2.")]
TruthOrgans = Annotated[str | None, typer.Option(help="The same for the truth, where it differs.")]
Regions = Annotated[
    str | None, typer.Option(help="Unions of organs to score besides: tumour=core+oedema.")
]
Metrics = Annotated[
    str | None, typer.Option(help="Only these: dsc,hd95,nsd. All of them unless given.")
]
Tolerances = Annotated[str, typer.Option(help="Tolerances of NSD in mm.")]
Conventions = Annotated[
    list[str] | None,
    typer.Option(help="Add columns as transunet, medpy, monai or nnunet print them."),
]
MissingAsEmpty = Annotated[
    bool, typer.Option(help="Count a case without prediction as one that found no organ.")
]
Groups = Annotated[
    str | None,
    typer.Option(metavar="FILE[:COLUMN]", help="CSV of the cases; figures per subgroup."),
]
Merge = Annotated[bool, typer.Option("--merge", help="Gather what the parts did.")]


@app.command()
def evaluate(
    predictions: Predictions,
    truth: Truth,
    output: Output,
    images: Images = None,
    organs: Organs = None,
    truth_organs: TruthOrgans = None,
    regions: Regions = None,
    metrics: Metrics = None,
    tolerances: Tolerances = "1,2",
    convention: Conventions = None,
    missing_as_empty: MissingAsEmpty = False,
    groups: Groups = None,
    workers: Workers = 2,
    num_parts: NumParts = None,
    part_id: PartId = None,
    merge: Merge = False,
    cluster: Cluster = None,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Score label maps against truth, organ by organ: overlap, distances, lesions.

    Stopped, it goes on where it was when the same command is given again.

    Examples: `medseg evaluate -i out -l data/labelsTs -o results`,
    `medseg evaluate -i out -l truth -o results --metrics dsc,hd95,nsd --tolerances 1,3`
    """
    from medseg.evaluation.evaluate import evaluate as run_evaluation
    from medseg.jobs import JobSettings

    scoring = _scoring(metrics, tolerances, convention, missing_as_empty, regions)
    jobs = JobSettings(num_parts=num_parts, part_id=part_id, merge=merge, cluster=cluster)
    group = _subgrouping(groups)
    with Bars(not no_progress) as bars:
        results = run_evaluation(
            predictions, truth, output,
            labels=organ_values(organs), truth_labels=organ_values(truth_organs),
            images=images, scoring=scoring, workers=workers, jobs=jobs, progress=bars,
        )  # fmt: skip
    if jobs.part is None:
        results = group(output, results)
    answer(results, as_json, _show if jobs.part is None else show_part)
    failures = [(case["case_id"], case["error"]) for case in results["failures"]]
    stop_if_failed(failures, len(results["cases"]) + len(failures))


def _scoring(
    metrics: str | None,
    tolerances: str,
    conventions: list[str] | None,
    missing_as_empty: bool,
    regions: str | None,
) -> "Scoring":
    from medseg.evaluation.score import Scoring
    from medseg.metrics.table import DEFAULT_METRICS

    unions = _pairs(regions or "", "region=organ+organ")
    return Scoring(
        metrics=DEFAULT_METRICS if metrics is None else _listed(metrics, str),
        tolerances_mm=_listed(tolerances, float),
        conventions=conventions or (),
        missing_as_empty=missing_as_empty,
        regions={
            name: [part.strip() for part in parts.split("+")] for name, parts in unions.items()
        },
    )


def _subgrouping(
    groups: str | None,
) -> Callable[[Path, dict[str, Any]], dict[str, Any]]:
    """What adds the subgroups; a table that cannot be used is told before hours of work."""
    if not groups:
        return lambda _, results: results
    from medseg.evaluation.evaluate import add_subgroups
    from medseg.evaluation.subgroups import read_groups, split_column

    file, column = split_column(groups)
    read_groups(file, column)
    return lambda output, results: add_subgroups(output, results, file, by=column)


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
