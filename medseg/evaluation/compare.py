"""Results of several models in, what differs between them out.

Compared are the figures that enter the headlines of each evaluation: an organ that a model missed
or invented counts with the worst figure of the metric (0, or the diagonal of the image), so that
no model gains by leaving out what is difficult. Where one model invents an organ that another
rightly leaves out, the other's figure is perfect. Cases and organs that not all models have are
left out and named. ``mean`` is the mean over the organs of each case.

``comparison.json`` (format ``medseg-comparison/1``) holds, numbers being ``null`` where there is
nothing to measure::

    format, version
    models        [{name, results (path), sha256, version}]; the first is the reference
    labels        organ -> value, of the reference
    organs        names, in order
    cases         ids, in order: that of every list of values below
    metrics       key -> {name, unit, better, convention, tie_tolerance}; the first is primary
    settings      {alpha, level, resamples, seed, pairs: "reference"|"all", interval, test, family}
    notices       sentences on what was left out or cannot be vouched for
    left_out      {cases: {case_id: [models that lack it]}, organs: {organ: [...]}}
    statuses      model -> organ -> [status or null per case]
    values        key -> model -> {organs: {organ: [number per case]}, mean: [number per case]}
    figures       key -> model -> {organs: {organ: F}, mean: F}, over cases known of all models,
                  F = {n, mean, median, ci_low, ci_high}
    pairs         [{reference, model, metrics: key -> {organs: {organ: D}, mean: D},
                  regressions: key -> [{case_id, organ, reference, model, difference,
                  reference_status, model_status}], worst first,
                  status_changes: [{case_id, organ, reference, model}]}]
                  D = {n, mean, median, ci_low, ci_high, wins, ties, losses, effect, p, p_holm,
                  significant, better, differences: [number per case]}; differences are model
                  less reference, wins those of the model, effect the rank-biserial correlation;
                  better is "model", "reference" or, where nothing is significant, null
    ranking       key -> {models: {model: {mean, rank, first, mean_rank}}, kendall_tau, unchanged}
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.errors import UsageError
from medseg.evaluation.comparable import Ground, common_ground, read_models
from medseg.evaluation.comparison_files import to_csv, to_latex
from medseg.evaluation.comparison_parts import (
    figures_of,
    notices_of,
    pairs_of,
    ranking_of,
    statuses_of,
    tie_tolerance,
    values_of,
)
from medseg.evaluation.statistics import Resampling
from medseg.files import write_json, write_text

LEVEL = 0.95
INTERVAL = "BCa bootstrap of the mean, cases resampled; not adjusted for the number of tests"
TEST = (
    "Wilcoxon's signed-rank test on paired differences, two-sided, zeros left out, exact given "
    "the ranks up to 100 pairs; p adjusted after Holm"
)
FAMILY = (
    "all organs and their mean, of all models compared, within one metric; metrics after the first "
    "count as significant only for models in which the first reports a difference"
)


def compare(
    results: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
    all_pairs: bool = False,
) -> dict[str, Any]:
    """Compare models that were evaluated against the same truth.

    Args:
        results: ``results.json`` files or their folders; the first is the reference that every
            other is compared with.
        output: Folder for ``comparison.json``, ``comparison.csv`` and ``comparison.tex``.
        names: Of the models; taken from where the paths differ unless given.
        metrics: Keys such as ``"dsc"``; ``"nsd"`` stands for every tolerance. The first is the
            primary metric: others count as significant only for models in which it differs.
            DSC, HD95 and NSD unless given.
        alpha: Chance to report a difference between models that have none.
        resamples: Of the cases, for intervals and ranks.
        seed: Of the resamples.
        all_pairs: Compare every two models instead of all with the first; the correction is then
            over more tests.

    Returns:
        What ``comparison.json`` holds; see the text at the top of this module.

    Raises:
        InputError: If a file is not what evaluation writes, nothing is common to all, or the
            truth of a case or the convention of a metric differs.
        UsageError: If there are fewer than two results, or another argument makes no sense.
    """
    if not 0 < alpha < 1 or resamples < 1 or seed < 0:
        raise UsageError(
            "wanted alpha between 0 and 1, resamples of 1 or more and a seed of 0 or more, "
            f"got {alpha}, {resamples} and {seed}"
        )
    settings = {
        "alpha": alpha, "level": LEVEL, "resamples": resamples, "seed": seed,
        "pairs": "all" if all_pairs else "reference",
        "interval": INTERVAL, "test": TEST, "family": FAMILY,
    }  # fmt: skip
    comparison = _comparison(common_ground(read_models(results, names), metrics), settings)
    output = Path(output)
    write_text(output / "comparison.csv", to_csv(comparison))
    write_text(output / "comparison.tex", to_latex(comparison))
    write_json(output / "comparison.json", comparison)
    return comparison


def _comparison(ground: Ground, settings: dict[str, Any]) -> dict[str, Any]:
    chosen = [*itertools.combinations(range(len(ground.models)), 2)]
    if settings["pairs"] == "reference":
        chosen = [pair for pair in chosen if pair[0] == 0]
    draws = Resampling(settings["resamples"], settings["level"], settings["seed"])
    pairs = pairs_of(ground, chosen, settings["alpha"], draws)
    return {
        "format": "medseg-comparison/1",
        "version": __version__,
        "models": [
            {"name": model.name, "results": str(model.path), "sha256": model.sha256,
             "version": model.results.get("version")}
            for model in ground.models
        ],
        "labels": {organ: ground.models[0].results["labels"][organ] for organ in ground.organs},
        "organs": list(ground.organs),
        "cases": list(ground.cases),
        "metrics": {
            key: {**{name: metric.get(name) for name in ("name", "unit", "better", "convention")},
                  "tie_tolerance": tie_tolerance(metric)}
            for key, metric in ground.metrics.items()
        },
        "settings": settings,
        "notices": notices_of(ground, pairs, settings["alpha"]),
        "left_out": ground.left_out,
        "statuses": statuses_of(ground),
        "values": values_of(ground),
        "figures": figures_of(ground, draws),
        "pairs": pairs,
        "ranking": ranking_of(ground, draws),
    }  # fmt: skip
