"""What several results have in common, and whether they may be compared at all."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError, UsageError
from medseg.evaluation.values import (
    find_results,
    headline_values,
    ranks,
    read_results,
    status_of,
    usual_metrics,
    worst_and_best,
)
from medseg.files import sha256


@dataclass(frozen=True)
class Model:
    """One model's results.

    Attributes:
        name: In tables.
        path: Its ``results.json``.
        sha256: Of that file.
        results: What it holds.
    """

    name: str
    path: Path
    sha256: str
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Ground:
    """The cases, organs and metrics that all models have, in the order of the first.

    Attributes:
        models: In the order given; the first is the reference.
        cases: Ids.
        organs: Names.
        metrics: Key → entry of ``results.json``.
        entries: One list per model: the entries of ``cases``.
        left_out: ``cases`` and ``organs`` that not all have → names of the models that lack them.
        unverified: Cases of which not every file holds the hash of the truth.
    """

    models: Sequence[Model]
    cases: Sequence[str]
    organs: Sequence[str]
    metrics: Mapping[str, Mapping[str, Any]]
    entries: Sequence[Sequence[Mapping[str, Any]]]
    left_out: Mapping[str, Mapping[str, Sequence[str]]]
    unverified: Sequence[str]

    def values(self, key: str) -> np.ndarray:
        """One metric, shape (models, cases, organs).

        Misses and inventions count with the worst figure. Where a model invented an organ that
        another rightly left out, the figure of the latter is perfect; ``nan`` where neither truth
        nor any model has the organ, or a figure is undefined.
        """
        metric = self.metrics[key]
        values = np.stack(
            [headline_values(entries, self.organs, key, metric) for entries in self.entries]
        )
        ends = worst_and_best(metric)
        there = self.present().any(axis=0)
        values[(self.statuses() == "absent") & there] = np.nan if ends is None else ends[1]
        return values

    def present(self) -> np.ndarray:
        """Where an organ is in truth or prediction, shape (models, cases, organs)."""
        return ~np.isin(self.statuses(), ("absent", ""))

    def statuses(self) -> np.ndarray:
        """Statuses as text, shape (models, cases, organs); empty where not evaluated."""
        return np.array(
            [
                [[status_of(case, organ) or "" for organ in self.organs] for case in entries]
                for entries in self.entries
            ],
            dtype="U16",
        ).reshape(len(self.models), len(self.cases), len(self.organs))


def read_models(paths: Sequence[str | Path], names: Sequence[str] | None) -> list[Model]:
    """Read the results of each model.

    Args:
        paths: ``results.json`` files or their folders.
        names: One for each; taken from where the paths differ unless given.

    Raises:
        UsageError: If there are fewer than two, or the names do not fit.
        InputError: If a file is not what evaluation writes.
    """
    if len(paths) < 2:
        raise UsageError(f"a comparison wants the results of two models or more, got {len(paths)}")
    files = [find_results(path) for path in paths]
    names = names_from(files) if names is None else [name.strip() for name in names]
    if len(names) != len(files) or len({*names}) != len(names) or not all(names):
        raise UsageError(f"wanted {len(files)} different names, got {', '.join(names)!r}")
    contents = [read_results(file) for file in files]
    return [
        Model(name, file.resolve(), sha256(file), content)
        for name, file, content in zip(names, files, contents, strict=True)
    ]


def names_from(files: Sequence[Path]) -> list[str]:
    """Names of models: the last part of their paths in which all of them differ."""
    stems = [file.resolve() for file in files]
    parts = [
        (*path.parent.parts[1:], *([path.stem] if path.name != "results.json" else []))
        for path in stems
    ]
    for back in range(1, min(map(len, parts)) + 1):
        names = [part[-back] for part in parts]
        if len({*names}) == len(names):
            return names
    return [f"{part[-1]} ({index})" for index, part in enumerate(parts, 1)]


def common_ground(models: Sequence[Model], metrics: Sequence[str] | None) -> Ground:
    """Find what all models have, and refuse what cannot be compared.

    Args:
        models: Two or more.
        metrics: Keys; ``nsd`` stands for every tolerance. DSC, HD95 and NSD unless given.

    Raises:
        InputError: If no case or organ is in all, or the truth of a case or the convention of a
            metric differs.
        UsageError: If a metric is not in all results or does not rank.
    """
    ids = [[case["case_id"] for case in model.results["cases"]] for model in models]
    named = [list(model.results["labels"]) for model in models]
    cases, organs = _common(models, ids, "case"), _common(models, named, "organ")
    chosen = _metrics(models, metrics)
    unverified = _check_truth(models, cases, organs)
    left_out = {
        "cases": _lacking(models, ids, cases),
        "organs": _lacking(models, named, organs),
    }
    by_id = [{case["case_id"]: case for case in model.results["cases"]} for model in models]
    entries = [[known[case_id] for case_id in cases] for known in by_id]
    return Ground(models, cases, organs, chosen, entries, left_out, unverified)


def _common(models: Sequence[Model], names: Sequence[Sequence[str]], what: str) -> list[str]:
    common = [name for name in names[0] if all(name in others for others in names[1:])]
    if not common:
        for model, others in zip(models[1:], names[1:], strict=True):
            if not {*others} & {*names[0]}:
                wanted = f"{what}s of {models[0].path} (such as {_some(names[0])})"
                raise InputError(model.path, wanted, f"none of them, but {_some(others)}")
        raise InputError(models[0].path, f"a {what} that is in all results", "none")
    return common


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) or "nothing"


def _lacking(
    models: Sequence[Model], names: Sequence[Sequence[str]], common: Sequence[str]
) -> dict[str, list[str]]:
    every = dict.fromkeys(name for each in names for name in each if name not in {*common})
    return {
        name: [model.name for model, own in zip(models, names, strict=True) if name not in {*own}]
        for name in every
    }


def _metrics(models: Sequence[Model], wanted: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    first = models[0].results["metrics"]
    common = {
        key: metric
        for key, metric in first.items()
        if ranks(metric) and all(key in model.results["metrics"] for model in models[1:])
    }
    keys = usual_metrics(common) if wanted is None else []
    for name in wanted or ():
        found = [key for key in common if key == name or (name == "nsd" and key[:4] == "nsd_")]
        if not found:
            raise UsageError(f"metric must be one of {', '.join(common)}, got {name!r}")
        keys += [key for key in found if key not in keys]
    if not keys:
        raise InputError(models[1].path, f"a metric that {models[0].path} has as well", "none")
    for model in models[1:]:
        for key in keys:
            _check_convention(models[0], model, key)
    return {key: common[key] for key in keys}


def _check_convention(reference: Model, model: Model, key: str) -> None:
    one, other = reference.results["metrics"][key], model.results["metrics"][key]
    for part in ("unit", "better", "convention"):
        if one.get(part) != other.get(part):
            raise InputError(
                model.path,
                f"{key} with the {part} of {reference.path}, {one.get(part)!r}",
                repr(other.get(part)),
                hint="evaluate both with one version and the same settings",
            )


def _check_truth(models: Sequence[Model], cases: Sequence[str], organs: Sequence[str]) -> list[str]:
    """Ids of the cases whose truth no hash vouches for; raises where it differs."""
    reference = {case["case_id"]: case for case in models[0].results["cases"]}
    unverified: dict[str, None] = {}
    for model in models[1:]:
        own = {case["case_id"]: case for case in model.results["cases"]}
        for case_id in cases:
            pair = reference[case_id], own[case_id]
            _check_same_truth(models[0], model, pair, organs)
            if None in map(_truth_hash, pair):
                unverified[case_id] = None
    return list(unverified)


def _check_same_truth(
    reference: Model,
    model: Model,
    pair: tuple[Mapping[str, Any], Mapping[str, Any]],
    organs: Sequence[str],
) -> None:
    case_id = pair[0]["case_id"]
    hashes = [_truth_hash(case) for case in pair]
    if None not in hashes and hashes[0] != hashes[1]:
        raise InputError(
            model.path,
            f"case {case_id} scored against the truth of {reference.path}",
            "another truth (SHA-256 of the label differs)",
            hint="evaluate both against the same files",
        )
    shapes = [case.get("shape") for case in pair]
    if None not in shapes and shapes[0] != shapes[1]:
        raise InputError(model.path, f"case {case_id} of shape {shapes[0]}", f"{shapes[1]}")
    for organ in organs:
        for what, one, other in _said_of_truth(pair, organ):
            if one != other:
                wanted = f"{organ!r} {what} in {case_id}: {one}, as in {reference.path}"
                raise InputError(model.path, wanted, f"{other}; the two truths differ")


def _said_of_truth(
    pair: tuple[Mapping[str, Any], Mapping[str, Any]], organ: str
) -> Iterator[tuple[str, Any, Any]]:
    """What both entries say of an organ's truth, and what each of them says."""
    values = [case.get("label_values", {}).get(organ) for case in pair]
    if None not in values:
        yield "with its value in the truth", values[0], values[1]
    statuses = [status_of(case, organ) for case in pair]
    if None not in statuses:
        there = [status in ("scored", "missed") for status in statuses]
        yield "being in the truth", there[0], there[1]
    volumes = [case["organs"].get(organ, {}).get("volume_label_ml") for case in pair]
    if None not in volumes and not math.isclose(*volumes, rel_tol=1e-6):
        yield "with its volume in ml in the truth", volumes[0], volumes[1]


def _truth_hash(case: Mapping[str, Any]) -> Any:
    hashes = case.get("sha256")
    return hashes.get("label") if isinstance(hashes, dict) else None
