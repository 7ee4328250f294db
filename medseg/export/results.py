"""How well a model did, for its card: what ``medseg evaluate`` measured, or its own training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.export.chain import Config
from medseg.model import LoadedModel
from medseg.report.read import find_results, read_results

Results = Mapping[str, Any]


def results_of(path: str | Path, labels: Mapping[str, int]) -> Results:
    """Results of ``medseg evaluate`` that belong to a model of these organs.

    Args:
        path: ``results.json`` or the folder that holds it.
        labels: The model's organs.

    Raises:
        InputError: If it cannot be read, has no DSC, or none of the organs.
    """
    file = find_results(path)
    results = read_results(file)
    if "dsc" not in results["metrics"]:
        raise InputError(file, "results with the DSC", f"{', '.join(results['metrics'])}")
    if not set(labels) & set(results["summary"]["organs"]):
        wanted = f"results of the model's organs ({', '.join(labels)})"
        raise InputError(file, wanted, f"{', '.join(results['summary']['organs'])}")
    return results


def eval_metrics(model: LoadedModel, results: Results | None) -> Config:
    """``eval_metrics`` of a bundle's metadata, the convention named.

    Args:
        model: What is exported.
        results: From :func:`results_of`; without them, the figures that came with the model.
    """
    if results is None:
        dsc = model.provenance.get("val_dsc_per_organ") or {}
        return {
            "convention": "mean DSC of each organ over the validation cases of its training",
            **{organ: value for organ, value in dsc.items() if value is not None},
        }
    metrics = _metrics(results)
    return {
        "convention": "; ".join(_conventions(results, metrics)),
        "cases": len(results["cases"]),
        "cases_failed": len(results["failures"]),
        "mean_over_organs": {name: results["summary"]["mean"].get(name) for name in metrics},
        "organs": {
            organ: {
                **{name: summary[name]["mean"] for name in metrics},
                **summary["counts"],
            }
            for organ, summary in _organs(model, results)
        },
    }


def said_of(model: LoadedModel, results: Results | None) -> str:
    """The same as Markdown: a table of the organs, and what its numbers mean."""
    return _own(model) if results is None else _measured(model, results)


def _own(model: LoadedModel) -> str:
    scores = model.provenance.get("val_dsc_per_organ") or {}
    if not scores:
        return "No figures came with the model."
    cases = len(model.provenance.get("val_cases", []))
    rows = [f"| {organ} | {_number(value, 4)} |" for organ, value in scores.items()]
    said = f"Mean DSC over the {cases} validation cases, by which the weights were chosen:"
    return "\n".join([said, "", "| organ | DSC |", "|---|---:|", *rows])


def _measured(model: LoadedModel, results: Results) -> str:
    metrics, mean = _metrics(results), results["summary"]["mean"]
    titles = [_title(results, name) for name in metrics]
    titles += [f"{_title(results, name)}, scored only" for name in metrics if name != "dsc"]
    rows = [
        f"| {organ} | {_cells(summary, metrics)} | {_coverage(summary['counts'])} |"
        for organ, summary in _organs(model, results)
    ]
    means = [_number(mean.get(name), _digits(name)) for name in metrics]
    means += [_number(mean.get(f"{name}_scored"), 2) for name in metrics if name != "dsc"]
    failed = f" ({len(results['failures'])} more failed)" if results["failures"] else ""
    return "\n".join([
        f"Means over {len(results['cases'])} cases{failed}, measured by `medseg evaluate`:", "",
        f"| organ | {' | '.join(titles)} | coverage |",
        f"|---|{'---:|' * (len(titles) + 1)}",
        *rows,
        f"| **mean over organs** | {' | '.join(means)} | |", "",
        "Coverage: cases in which the organ is in truth and prediction, of those in which it is "
        "in either; missed and invented organs are counted behind it.", "",
        *(f"- {line}" for line in _conventions(results, metrics)),
    ])  # fmt: skip


def _metrics(results: Results) -> list[str]:
    """DSC, and HD95 in the convention that the results have; the pooled one if both."""
    distances = [name for name in ("hd95", "hd95_directed") if name in results["metrics"]]
    return ["dsc", *distances[:1]]


def _organs(model: LoadedModel, results: Results) -> list[tuple[str, Any]]:
    organs = results["summary"]["organs"]
    return [(organ, organs[organ]) for organ in model.spec.labels if organ in organs]


def _conventions(results: Results, metrics: Sequence[str]) -> list[str]:
    return [
        f"{_title(results, name)}: {results['metrics'][name].get('convention', 'not stated')}"
        for name in metrics
    ]


def _title(results: Results, name: str) -> str:
    metric = results["metrics"][name]
    unit = metric.get("unit", "1")
    return str(metric.get("name", name)) + ("" if unit == "1" else f" [{unit}]")


def _cells(summary: Mapping[str, Any], metrics: Sequence[str]) -> str:
    cells = [_number(summary[name]["mean"], _digits(name)) for name in metrics]
    cells += [_number(summary[name].get("mean_scored"), 2) for name in metrics if name != "dsc"]
    return " | ".join(cells)


def _coverage(counts: Mapping[str, int]) -> str:
    wrong = {"missed": counts["missed"], "invented": counts["false_positive"]}
    either = counts["scored"] + sum(wrong.values())
    said = "".join(f", {count} {name}" for name, count in wrong.items() if count)
    return f"{counts['scored']} of {either}{said}"


def _digits(name: str) -> int:
    return 4 if name == "dsc" else 2


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
