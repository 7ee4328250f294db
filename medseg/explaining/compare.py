"""Methods measured against each other, and against chance, on cases with truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medseg
from medseg.case import Case
from medseg.errors import InputError, UsageError
from medseg.evaluation.statistics import confidence, row_means
from medseg.explain import Options, Target, channel_of, explain_network, find_method
from medseg.explain.faithfulness import agreement, curves_of, points_at, randomised, share_within
from medseg.explaining.curves import CONTROL, draw_curves
from medseg.explaining.scan import Scan
from medseg.files import write_json
from medseg.inference.inputs import cases_of, read_image
from medseg.inference.predict import model_folder_of
from medseg.inference.predictor import pick_device
from medseg.jobs import Progress, silent
from medseg.model import LoadedModel, read_model
from medseg.report.faithfulness import write_faithfulness
from medseg.volumes import read_volume

PAGE = "compare.html"
ALIKE = 0.5  # rank correlation above which a map is said to be the same one
FIGURES = ("deletion", "insertion", "gain", "pointing", "inside", "survives")


@dataclass(frozen=True)
class Measured:
    """Figures of one method for one organ of one case.

    Attributes:
        case_id: Of the case.
        organ: Of the target.
        method: Of the map.
        figures: By name, as in ``FIGURES``.
        agreement: Rank correlation with the map of each method.
        deletion: The curve.
        insertion: The curve.
    """

    case_id: str
    organ: str
    method: str
    figures: dict[str, float | None]
    agreement: dict[str, float | None]
    deletion: list[float]
    insertion: list[float]


def compare_methods(
    model: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    organs: Sequence[str],
    methods: Sequence[str],
    options: Options | None = None,
    page: bool = True,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure how faithful methods are, on the slice of each case in which an organ is largest.

    Figures: areas under the deletion and insertion curves (:mod:`medseg.explain.faithfulness`),
    ``gain``, insertion less deletion; ``pointing``, whether the map's largest number lies in the
    organ's truth; ``inside``, the share of the map there; ``survives``, the rank correlation with
    the map of the same network with all weights shuffled. A method is said to beat chance if the
    interval of its gain less that of the random control, case by case, lies above 0; to survive
    the shuffling, and so to show the image more than what was learnt, if that of ``survives`` lies
    above 0.5.

    Args:
        model: Model folder, or run folder with one.
        source: Case list with truth.
        output: Folder for ``faithfulness.json``, ``curves.png`` and the page ``compare.html``.
        organs: Organs of the model.
        methods: As in :func:`medseg.explain.method_names`; the control is added.
        options: Choices of the methods.
        page: Whether to write the page.
        device: As elsewhere.
        progress: Hears of every case.

    Returns:
        What is in ``faithfulness.json``: every figure and curve, means with 95 % BCa intervals
        over cases, organs taken together within a case first.

    Raises:
        UsageError: If organs or methods do not fit, or no organ was found in any case.
        InputError: If there is no truth.
    """
    methods = [*dict.fromkeys([*methods, CONTROL])]
    for name in methods:
        find_method(name)
    loaded, where = read_model(model_folder_of(model)), pick_device(device)
    _check_organs(organs, loaded)
    loaded.network.to(where)
    shuffled = list(randomised(loaded.network))[-1][1]
    cases, measured = cases_of(source), list[Measured]()
    for done, case in enumerate(cases, 1):
        scan = Scan(loaded, read_image(case), where)
        for organ in organs:
            seeded = replace(options or Options(), seed=done)
            measured += _measure(case, organ, loaded, scan, shuffled, methods, seeded)
        progress("Measuring", done, len(cases), case.case_id)
    if not measured:
        raise UsageError(f"the model finds none of {', '.join(organs)} in these cases")
    result = {
        "medseg": medseg.__version__,
        "cases": len({one.case_id for one in measured}),
        "organs": list(organs),
        "methods": {name: summary_of(measured, name) for name in methods},
        "measured": [vars(one) for one in measured],
    }
    write_json(Path(output) / "faithfulness.json", result)
    draw_curves(Path(output) / "curves.png", result)
    if page:
        write_faithfulness(Path(output) / PAGE, result)
    return result


def summary_of(measured: Sequence[Measured], method: str) -> dict[str, Any]:
    """Means over cases of one method's figures, with intervals; and whether it beats chance."""
    table = _by_case(measured, method)
    low, high = confidence(table)
    means = row_means(table.T)
    summary: dict[str, Any] = {
        name: {"mean": _plain(mean), "low": _plain(a), "high": _plain(b)}
        for name, mean, a, b in zip(FIGURES, means, low, high, strict=True)
    }
    gain = FIGURES.index("gain")
    difference = table[:, [gain]] - _by_case(measured, CONTROL)[:, [gain]]
    start, end = confidence(difference)
    summary["over_random"] = {
        "mean": _plain(float(row_means(difference.T)[0])),
        "low": _plain(start[0]),
        "high": _plain(end[0]),
    }
    summary["beats_random"] = bool(start[0] > 0)
    summary["survives_shuffling"] = bool(low[FIGURES.index("survives")] > ALIKE)
    own = [one for one in measured if one.method == method]
    summary["agreement"] = {
        other: _mean([one.agreement[other] for one in own]) for other in own[0].agreement
    }
    return summary


def _check_organs(organs: Sequence[str], model: LoadedModel) -> None:
    for organ in organs:
        if organ not in model.spec.labels:
            known = ", ".join(model.spec.labels)
            raise UsageError(f"organ must be one of {known}, got {organ!r}")


def _measure(
    case: Case,
    organ: str,
    model: LoadedModel,
    scan: Scan,
    shuffled: torch.nn.Module,
    methods: Sequence[str],
    options: Options,
) -> list[Measured]:
    truth = _truth(case, organ, scan)
    channel = channel_of(organ, model.spec.labels, scan.channels)
    largest = int(truth.sum(axis=(1, 2)).argmax())
    regions = scan.found(channel, [largest], batch_size=1) if truth[largest].any() else {}
    if not regions:
        return []
    image, label = scan.inputs([largest]), torch.from_numpy(truth[largest])
    target = Target(channel, region=regions[largest][None].to(image.device))
    maps, changed = (
        {
            name: explain_network(network, image, target, method=name, options=options)
            for name in methods
        }
        for network in (model.network, shuffled)
    )
    found = []
    for method, one in maps.items():
        curves = curves_of(model.network, image, target, one, seed=options.seed)
        deletion, insertion = curves.areas
        values = (
            deletion, insertion, insertion - deletion, float(points_at(one.cpu(), label)),
            share_within(one[0].cpu(), label), agreement(one, changed[method]),
        )  # fmt: skip
        figures = {name: _plain(value) for name, value in zip(FIGURES, values, strict=True)}
        agrees = {other: _plain(agreement(one, theirs)) for other, theirs in maps.items()}
        both = curves.deletion.tolist(), curves.insertion.tolist()
        found.append(Measured(case.case_id, organ, method, figures, agrees, *both))
    return found


def _truth(case: Case, organ: str, scan: Scan) -> np.ndarray:
    """Masks of an organ's truth at the network's size, (Z, H, W)."""
    if case.label is None or organ not in case.labels:
        raise InputError(case.case_id, f"truth of {organ}", "none", hint="give a case list")
    return scan.masks_of(read_volume(case.label, "label").array == case.labels[organ])


def _by_case(measured: Sequence[Measured], method: str) -> np.ndarray:
    """Figures of a method, the mean over organs for each case, shape (cases, figures)."""
    rows: dict[str, list[list[float]]] = {}
    for one in measured:
        if one.method == method:
            values = [one.figures[name] for name in FIGURES]
            row = [float("nan") if value is None else value for value in values]
            rows.setdefault(one.case_id, []).append(row)
    return np.array([row_means(np.array(row).T) for row in rows.values()])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
