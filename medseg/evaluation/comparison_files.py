"""A comparison of models as CSV and as a LaTeX table."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medseg.evaluation.latex import conventions, escaped, metric_heads, number, table

COLUMNS = (
    "n", "mean", "median", "ci_low", "ci_high", "wins", "ties", "losses", "effect", "p", "p_holm",
    "significant", "better",
)  # fmt: skip
MEAN = "mean over organs"
MARKS = {"model": "$^{+}$", "reference": "$^{-}$"}


def rows_of(by_organ: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Organ → its entry, then the mean over the organs."""
    yield from by_organ["organs"].items()
    yield MEAN, by_organ["mean"]


def to_csv(comparison: Mapping[str, Any]) -> str:
    """One line per pair of models, metric and organ; differences are model less reference."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["reference", "model", "metric", "unit", "organ", "reference_mean", "model_mean",
         *(f"difference_{name}" if name in ("mean", "median") else name for name in COLUMNS)]
    )  # fmt: skip
    for pair in comparison["pairs"]:
        for key, by_organ in pair["metrics"].items():
            figures = comparison["figures"][key]
            sides = [dict(rows_of(figures[pair[side]])) for side in ("reference", "model")]
            unit = comparison["metrics"][key]["unit"]
            for organ, entry in rows_of(by_organ):
                means = [side[organ]["mean"] for side in sides]
                cells = [entry[name] for name in COLUMNS]
                names = [pair["reference"], pair["model"], key, unit, organ]
                writer.writerow([*names, *means, *cells])
    return text.getvalue()


def to_latex(comparison: Mapping[str, Any]) -> str:
    """Organs as rows; for each metric the mean of every model, the best in bold.

    + and - mark what is significantly better or worse than the first model. The ``table`` needs
    booktabs.
    """
    names = [model["name"] for model in comparison["models"]]
    metrics, width = comparison["metrics"], len(names)
    rules = [
        rf"\cmidrule(lr){{{2 + i * width}-{1 + (i + 1) * width}}}" for i in range(len(metrics))
    ]
    head = [
        ["", *(rf"\multicolumn{{{width}}}{{c}}{{{title}}}" for title in metric_heads(metrics))],
        rules,
        ["Organ", *(escaped(name) for _ in metrics for name in names)],
    ]
    body = [
        [escaped(organ), *(cell for key in metrics for cell in _cells(comparison, key, organ))]
        for organ in [*comparison["organs"], MEAN]
    ]
    settings, cases = comparison["settings"], len(comparison["cases"])
    caption = [
        f"Means over those of {cases} cases that have the organ in the truth or in any prediction; "
        "who rightly leaves out what another model invents counts as perfect.",
        *conventions(metrics),
    ]
    notes = [
        "Best in bold.",
        f"{MARKS['model']} better or {MARKS['reference']} worse than {escaped(names[0])} in most "
        f"cases, $p \\leq {settings['alpha']:g}$ ({escaped(settings['test'])}). "
        f"Family of tests: {escaped(settings['family'])}.",
        *map(escaped, comparison["notices"]),
    ]
    return table(
        caption=" ".join(caption),
        label="comparison",
        columns="l" + "r" * width * len(metrics),
        head=head,
        body=body,
        notes=notes,
    )


def _cells(comparison: Mapping[str, Any], key: str, organ: str) -> list[str]:
    metric = comparison["metrics"][key]
    names = [str(model["name"]) for model in comparison["models"]]
    means = [dict(rows_of(comparison["figures"][key][name]))[organ]["mean"] for name in names]
    texts = [number(mean, metric["unit"]) for mean in means]
    best = _best(means, texts, metric["better"])
    sides = {
        pair["model"]: str(dict(rows_of(pair["metrics"][key]))[organ]["better"])
        for pair in comparison["pairs"]
        if pair["reference"] == names[0]
    }
    return [
        (rf"\textbf{{{text}}}" if text == best else text) + MARKS.get(sides.get(name, ""), "")
        for name, text in zip(names, texts, strict=True)
    ]


def _best(means: Sequence[float | None], texts: Sequence[str], better: str) -> str | None:
    """The text of the best figure; those that print alike are equally good."""
    known = [(mean, text) for mean, text in zip(means, texts, strict=True) if mean is not None]
    if not known:
        return None
    return (max(known) if better == "higher" else min(known))[1]
