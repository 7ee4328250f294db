"""The parts of a comparison as plain data, from the figures that models have in common."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from medseg.evaluation.comparable import Ground
from medseg.evaluation.paired import Paired, paired, ranking, significant, with_mean
from medseg.evaluation.significance import pairs_needed
from medseg.evaluation.statistics import Resampling, confidence, row_means

TIES = {"1": 0.001, "mm": 0.01}  # unit → one of the last digit that tables show
WORST = 10  # regressions listed per metric
SOME = 5  # names said in a notice
FIGURE_NAMES = {"low": "ci_low", "high": "ci_high"}


def tie_tolerance(metric: Mapping[str, Any]) -> float:
    """Differences smaller than this are ties."""
    return TIES[metric["unit"]]


def higher_is_better(metric: Mapping[str, Any]) -> bool:
    """Whether more of the metric is better."""
    return bool(metric["better"] == "higher")


def shared(ground: Ground, key: str) -> np.ndarray:
    """Figures known of all models, shape (models, cases, organs and their mean)."""
    values = ground.values(key)
    values[:, np.isnan(values).any(axis=0)] = np.nan
    return np.stack([with_mean(own) for own in values])


def values_of(ground: Ground) -> dict[str, dict[str, Any]]:
    """Metric → model → organs and mean → one number per case."""
    return {
        key: {
            model.name: by_organ(ground, [plain(column) for column in own.T])
            for model, own in zip(ground.models, shared(ground, key), strict=True)
        }
        for key in ground.metrics
    }


def statuses_of(ground: Ground) -> dict[str, dict[str, list[str | None]]]:
    """Model → organ → one status per case."""
    return {
        model.name: {
            organ: [str(status) or None for status in column]
            for organ, column in zip(ground.organs, own.T, strict=True)
        }
        for model, own in zip(ground.models, ground.statuses(), strict=True)
    }


def figures_of(ground: Ground, draws: Resampling) -> dict[str, dict[str, Any]]:
    """Metric → model → organs and mean → mean, median, interval and number of cases."""

    def entries(own: np.ndarray) -> list[dict[str, Any]]:
        low, high = confidence(own, resamples=draws.resamples, level=draws.level, seed=draws.seed)
        number = (~np.isnan(own)).sum(axis=0)
        columns = zip(
            number, plain(row_means(own.T)), medians(own), plain(low), plain(high), strict=True
        )
        names = ("mean", "median", "ci_low", "ci_high")
        return [{"n": int(n), **dict(zip(names, numbers, strict=True))} for n, *numbers in columns]

    return {
        key: {
            model.name: by_organ(ground, entries(own))
            for model, own in zip(ground.models, shared(ground, key), strict=True)
        }
        for key in ground.metrics
    }


def ranking_of(ground: Ground, draws: Resampling) -> dict[str, dict[str, Any]]:
    """Metric → how the models rank by the mean over the organs of each case."""
    rankings = {}
    for key, metric in ground.metrics.items():
        found = ranking(
            shared(ground, key)[:, :, -1].T,
            higher_is_better=higher_is_better(metric),
            resamples=draws.resamples,
            seed=draws.seed,
        )
        columns = {
            name: plain(getattr(found, name)) for name in ("mean", "rank", "first", "mean_rank")
        }
        rankings[key] = {
            "models": {
                model.name: {name: column[index] for name, column in columns.items()}
                for index, model in enumerate(ground.models)
            },
            "kendall_tau": plain([found.tau])[0],
            "unchanged": plain([found.unchanged])[0],
        }
    return rankings


def pairs_of(
    ground: Ground, chosen: Sequence[tuple[int, int]], alpha: float, draws: Resampling
) -> list[dict[str, Any]]:
    """One entry per pair of models (indices), the first of each pair the reference."""
    differences = {
        key: [_differences(ground, ground.values(key), pair) for pair in chosen]
        for key in ground.metrics
    }
    found = {
        key: [_paired(own, ground.metrics[key], draws) for own in arrays]
        for key, arrays in differences.items()
    }
    verdicts = significant([np.stack([own.p for own in each]) for each in found.values()], alpha)
    pairs = []
    for index, pair in enumerate(chosen):
        metrics = {}
        for key, (adjusted, reported) in zip(found, verdicts, strict=True):
            columns = {
                **asdict(found[key][index]),
                "p_holm": adjusted[index],
                "significant": reported[index],
            }
            higher = higher_is_better(ground.metrics[key])
            entries = _entries(columns, differences[key][index], higher)
            metrics[key] = by_organ(ground, entries)
        pairs.append(_pair(ground, pair, metrics))
    return pairs


def notices_of(ground: Ground, pairs: Sequence[Mapping[str, Any]], alpha: float) -> list[str]:
    """Sentences on what was left out, cannot be vouched for, or cannot come out significant."""
    said = []
    for what, lacking in ground.left_out.items():
        if lacking:
            named = [f"{name} (not in {', '.join(models)})" for name, models in lacking.items()]
            rest = f" and {len(named) - SOME} more" if len(named) > SOME else ""
            said.append(f"Left out {what} that not all have: {', '.join(named[:SOME])}{rest}.")
    if ground.unverified:
        said.append(
            f"Whether the truth is the same cannot be checked in {len(ground.unverified)} of "
            f"{len(ground.cases)} cases: results of an earlier version hold no hash of it."
        )
    for key in ground.metrics:
        rows = [row for pair in pairs for row in _all(pair["metrics"][key])]
        tests = sum(row["p"] is not None for row in rows)
        needed = pairs_needed(tests, alpha)
        if all(row["n"] < needed for row in rows):
            said.append(
                f"{key}: with {tests} tests at alpha {alpha:g} no difference can be significant "
                f"below {needed} pairs, and no organ has more than "
                f"{max(row['n'] for row in rows)}."
            )
        elif any(row["p_holm"] is not None and row["p_holm"] <= alpha and not row["significant"]
                 for row in rows):  # fmt: skip
            first = next(iter(ground.metrics))
            said.append(
                f"{key}: adjusted p at or below {alpha:g} does not count, since {first}, the "
                f"first metric, reports no difference."
            )
    return said


def by_organ(ground: Ground, columns: Sequence[Any]) -> dict[str, Any]:
    """Columns, the mean being the last, by the names of the organs."""
    return {"organs": dict(zip(ground.organs, columns[:-1], strict=True)), "mean": columns[-1]}


def plain(numbers: Iterable[float]) -> list[float | None]:
    """Numbers for JSON: ``None`` for what is not finite."""
    return [float(number) if np.isfinite(number) else None for number in numbers]


def medians(values: np.ndarray) -> list[float | None]:
    """Median of each column over what is not ``nan``."""
    columns = [column[~np.isnan(column)] for column in values.T]
    return [float(np.median(column)) if column.size else None for column in columns]


def _differences(ground: Ground, values: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    there = ground.present()[list(pair)].any(axis=0)
    return with_mean(np.where(there, values[pair[1]] - values[pair[0]], np.nan))


def _paired(differences: np.ndarray, metric: Mapping[str, Any], draws: Resampling) -> Paired:
    return paired(
        differences,
        higher_is_better=higher_is_better(metric),
        tolerance=tie_tolerance(metric),
        resamples=draws.resamples,
        level=draws.level,
        seed=draws.seed,
    )


def _entries(
    columns: Mapping[str, np.ndarray], differences: np.ndarray, higher: bool
) -> list[dict[str, Any]]:
    entries = []
    for index, own in enumerate(differences.T):
        entry: dict[str, Any] = {
            FIGURE_NAMES.get(name, name): _one(column[index]) for name, column in columns.items()
        }
        side = "model" if (entry["effect"] or 0) * (1 if higher else -1) > 0 else "reference"
        entry["better"] = side if entry["significant"] else None
        entry["differences"] = plain(own)
        entries.append(entry)
    return entries


def _one(value: Any) -> Any:
    plainly = value.item()
    return plainly if not isinstance(plainly, float) else plain([plainly])[0]


def _pair(
    ground: Ground, pair: tuple[int, int], metrics: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "reference": ground.models[pair[0]].name,
        "model": ground.models[pair[1]].name,
        "metrics": dict(metrics),
        "regressions": {key: _regressions(ground, key, pair) for key in metrics},
        "status_changes": _status_changes(ground, pair),
    }


def _regressions(ground: Ground, key: str, pair: tuple[int, int]) -> list[dict[str, Any]]:
    values, statuses = ground.values(key), ground.statuses()
    before, after = values[pair[0]], values[pair[1]]
    losses = after - before if not higher_is_better(ground.metrics[key]) else before - after
    losses = np.nan_to_num(losses, nan=0.0)
    order = np.argsort(-losses, axis=None, kind="stable")[:WORST]
    places = [divmod(int(place), losses.shape[1]) for place in order]
    return [
        {
            "case_id": ground.cases[case],
            "organ": ground.organs[organ],
            "reference": float(before[case, organ]),
            "model": float(after[case, organ]),
            "difference": float(after[case, organ] - before[case, organ]),
            "reference_status": str(statuses[pair[0], case, organ]),
            "model_status": str(statuses[pair[1], case, organ]),
        }
        for case, organ in places
        if losses[case, organ] >= tie_tolerance(ground.metrics[key])
    ]


def _status_changes(ground: Ground, pair: tuple[int, int]) -> list[dict[str, str]]:
    before, after = (ground.statuses()[model] for model in pair)
    changed = np.argwhere((before != after) & (before != "") & (after != ""))
    return [
        {
            "case_id": ground.cases[case],
            "organ": ground.organs[organ],
            "reference": str(before[case, organ]),
            "model": str(after[case, organ]),
        }
        for case, organ in changed
    ]


def _all(rows: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*rows["organs"].values(), rows["mean"]]
