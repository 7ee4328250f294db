"""Tables of comparisons and subgroups for people, on stderr."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

WORST = 3  # regressions shown per metric
SHOWN = 2  # metrics of subgroups; all are in results.json
NOTHING = "–"
VERDICTS = {"model": "* better", "reference": "* worse"}


def show_comparison(found: Mapping[str, Any], folder: Path) -> None:
    """Per pair and metric a table of organs, the worst regressions, and how the models rank."""
    from medseg.evaluation.comparison_files import rows_of

    console = Console(stderr=True)
    for pair in found["pairs"]:
        for key, by_organ in pair["metrics"].items():
            console.print(_pair_table(found, pair, key, rows_of(by_organ)))
            for loss in pair["regressions"][key][:WORST]:
                console.print(f"  {_loss(loss, found['metrics'][key])}", soft_wrap=True)
        _print_status_changes(console, pair)
    if len(found["models"]) > 2:
        console.print(_rank_table(found))
    settings = found["settings"]
    console.print(
        f"change: mean of model less reference; a missed or invented organ counts with the worst "
        f"figure. * p (Holm) ≤ {settings['alpha']:g}. {settings['test']}: it asks which model is "
        "ahead in most cases and can point the other way than the mean, in which single misses "
        f"weigh much. Family: {settings['family']}. Interval: {settings['interval']}.",
        style="dim",
        highlight=False,
    )
    for notice in found["notices"]:
        console.print(escape(notice), style="yellow", highlight=False)
    console.print(f"Written: {escape(str(folder))}", soft_wrap=True, highlight=False)


def show_choice(found: Mapping[str, Any]) -> None:
    """Per organ the mean DSC before and after, and what was chosen."""
    table = Table(
        "organ", "cases", "DSC before", "after", "chosen", box=SIMPLE_HEAD, pad_edge=False
    )
    for organ, one in found["organs"].items():
        figures = [one["dsc_before"], one["dsc_after"]]
        step = one["step"] or {}
        said = ", ".join(
            name if value is True else f"{name} {value}" for name, value in step.items()
        )
        cells = (NOTHING if figure is None else f"{figure:.4f}" for figure in figures)
        table.add_row(escape(organ), str(one["cases"]), *cells, said or "nothing")
    console = Console(stderr=True)
    console.print(table)
    console.print(f"Written onto the card in {escape(found['model'])}", soft_wrap=True)


def show_subgroups(found: Mapping[str, Any]) -> None:
    """A table of organs for each subgroup and each of the first metrics."""
    from medseg.evaluation.subgroups import subgroup_rows

    console = Console(stderr=True)
    for group in found["groups"]:
        for key in list(found["units"])[:SHOWN]:
            header, body = subgroup_rows(found, [key])
            table = Table(
                box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_style="bold",
                title=escape(f"{found['column']} {group}"), title_justify="left",
            )  # fmt: skip
            for index, name in enumerate(header[1:]):
                justify: Literal["left", "right"] = "right" if index else "left"
                table.add_column(name.replace(" ", "\n", 1), justify=justify, no_wrap=index > 0)
            for name, *row in body:
                if name == group:
                    table.add_row(*map(escape, row))
            console.print(table)
    for notice in found["notices"]:
        console.print(escape(notice), style="yellow", highlight=False)


def _pair_table(found: Mapping[str, Any], pair: Mapping[str, Any], key: str, rows: Any) -> Table:
    metric = found["metrics"][key]
    digits = 3 if metric["unit"] == "1" else 2
    better = f"{metric['better']} is better"
    unit = "" if metric["unit"] == "1" else f" {metric['unit']},"
    title = f"{pair['model']} against {pair['reference']}: {metric['name']},{unit} {better}"
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=escape(title),
        title_justify="left", title_style="bold",
    )  # fmt: skip
    table.add_column("organ")
    for name in ("n", "change", "95 % interval", "win/tie/loss", "p (Holm)", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for organ, row in rows:
        ends = [_signed(row[name], digits) for name in ("ci_low", "ci_high")]
        interval = NOTHING if NOTHING in ends else " to ".join(ends)
        counts = "/".join(str(row[name]) for name in ("wins", "ties", "losses"))
        verdict = VERDICTS.get(row["better"], "")
        table.add_row(
            escape(organ), str(row["n"]), _signed(row["mean"], digits), interval, counts,
            _chance(row["p_holm"]), verdict,
        )  # fmt: skip
    return table


def _rank_table(found: Mapping[str, Any]) -> Table:
    table = Table("rank by", "model", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("mean", "rank", "first in", "tau"):
        table.add_column(name, justify="right")
    for key, ranking in found["ranking"].items():
        for name, entry in ranking["models"].items():
            shown = [entry["mean"], entry["rank"], entry["first"], ranking["kendall_tau"]]
            forms = ("{:.3f}", "{:g}", "{:.0%}", "{:.2f}")
            cells = [
                NOTHING if value is None else form.format(value)
                for form, value in zip(forms, shown, strict=True)
            ]
            table.add_row(key, escape(name), *cells)
    return table


def _print_status_changes(console: Console, pair: Mapping[str, Any]) -> None:
    counts: dict[str, int] = {}
    for change in pair["status_changes"]:
        said = f"{change['reference']} → {change['model']}".replace("_", " ")
        counts[said] = counts.get(said, 0) + 1
    if counts:
        said = ", ".join(f"{number} {name}" for name, number in counts.items())
        text = f"Statuses, {pair['reference']} → {pair['model']}: {said}"
        console.print(escape(text), highlight=False)


def _loss(loss: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    digits = 3 if metric["unit"] == "1" else 1
    figures = f"{loss['reference']:.{digits}f} → {loss['model']:.{digits}f}"
    statuses: Sequence[str] = (loss["reference_status"], loss["model_status"])
    change = f" ({' → '.join(statuses)})".replace("_", " ") if len({*statuses}) > 1 else ""
    return escape(f"worse: {loss['case_id']}, {loss['organ']}: {figures}{change}")


def _signed(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:+.{digits}f}"


def _chance(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"
