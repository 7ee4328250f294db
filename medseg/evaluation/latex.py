"""The table of one evaluation in LaTeX, in the shape of TransUNet's, and what LaTeX needs."""

from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "--"
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "–": "--", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$",
}  # fmt: skip
ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}
DISTANCE = "hd95"


def latex_table(results: Mapping[str, Any], *, name: str = "prediction") -> str:
    r"""Means over organs, then DSC of each organ, as a LaTeX ``table`` for booktabs.

    DSC in %, HD95 in mm; means as in the summary, where a missed or invented organ counts with
    the worst figure. The conventions stand in the caption, the coverage in a note below.

    Args:
        results: What ``results.json`` holds.
        name: Of the row.

    Returns:
        A ``table`` environment that needs ``\usepackage{booktabs}``.
    """
    summary, metrics = results["summary"], results["metrics"]
    shown = [key for key in ("dsc", DISTANCE) if key in metrics and key in summary["mean"]]
    heads = metric_heads({key: metrics[key] for key in shown})
    cells = [number(summary["mean"][key], metrics[key]["unit"]) for key in shown]
    if "dsc" in shown:
        for organ, entry in summary["organs"].items():
            heads.append(escaped(organ))
            cells.append(number(entry["dsc"]["mean"], metrics["dsc"]["unit"]))
    return table(
        caption=" ".join([*conventions({key: metrics[key] for key in shown}), *_average(results)]),
        label="results",
        columns="l" + "r" * len(heads),
        head=[["Method", *heads]],
        body=[[escaped(name), *cells]],
        notes=_coverage(results),
    )


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def metric_heads(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each metric's name, unit and which way is better; without brackets if still unique."""
    short = [str(metric["name"]).partition(" (")[0] for metric in metrics.values()]
    heads = []
    for name, metric in zip(short, metrics.values(), strict=True):
        title = escaped(name if short.count(name) == 1 else metric["name"])
        unit = r"\%" if metric["unit"] == "1" else escaped(metric["unit"])
        heads.append(f"{title} ({unit}) {ARROWS.get(metric['better'], '')}".rstrip())
    return heads


def number(value: float | None, unit: str) -> str:
    """Two digits after the point; shares in %."""
    if value is None:
        return NOTHING
    return f"{100 * value if unit == '1' else value:.2f}"


def conventions(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence per metric on how it is computed."""
    return [
        f"{escaped(metric['name'])}: {escaped(str(metric['convention']).rstrip('.'))}."
        for metric in metrics.values()
        if metric.get("convention")
    ]


def table(
    *,
    caption: str,
    label: str,
    columns: str,
    head: Sequence[Sequence[str]],
    body: Sequence[Sequence[str]],
    notes: Sequence[str],
) -> str:
    r"""A ``table`` environment with booktabs' rules; cells and texts are LaTeX already.

    Args:
        caption: Above the table.
        label: Behind ``tab:``.
        columns: As ``tabular`` takes them.
        head: Lines above the middle rule; one that starts with ``\cmidrule`` is no row.
        body: Rows.
        notes: Sentences below.
    """
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        r"\small",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *map(_line, head),
        r"\midrule",
        *map(_line, body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if notes:
        lines += ["", r"\smallskip", r"\footnotesize " + " ".join(notes)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _line(cells: Sequence[str]) -> str:
    rule = cells and cells[0].startswith(r"\cmidrule")
    return " ".join(cells) if rule else " & ".join(cells) + r" \\"


def _average(results: Mapping[str, Any]) -> list[str]:
    cases = results["summary"]["cases"]
    failed = f", {cases['failed']} more failed" if cases.get("failed") else ""
    return [f"Means over organs of means over cases; {cases['scored']} cases{failed}."]


def _coverage(results: Mapping[str, Any]) -> list[str]:
    """What stands behind each figure: organs scored, missed, invented, absent."""
    summary = results["summary"]
    counts, mean = summary["counts"], summary["mean"]
    said = [
        f"Organs of all cases: {counts['scored']} scored, {counts['missed']} missed, "
        f"{counts['false_positive']} false positive, {counts['absent']} absent from both."
    ]
    alone = mean.get(f"{DISTANCE}_scored")
    if alone is not None and counts["missed"] + counts["false_positive"]:
        said.append(f"HD95 over scored organs alone: {alone:.2f} mm.")
    incomplete = [
        f"{escaped(organ)} {entry['counts']['scored']} of "
        f"{entry['counts']['scored'] + entry['counts']['missed']}"
        + (f" and {entry['counts']['false_positive']} invented"
           if entry["counts"]["false_positive"] else "")
        for organ, entry in summary["organs"].items()
        if entry["counts"]["missed"] or entry["counts"]["false_positive"]
    ]  # fmt: skip
    if incomplete:
        said.append(f"Found: {'; '.join(incomplete)}; every other organ wherever it is.")
    return said
