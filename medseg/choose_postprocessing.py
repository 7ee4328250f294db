"""The verb ``choose-postprocessing``: what helps which organ on validation cases, onto the card."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Case, read_cases
from medseg.errors import InputError, UsageError
from medseg.inference.choose_postprocess import Compared, choose_steps
from medseg.inference.inputs import read_image
from medseg.inference.predict import Predictor, PredictSettings, model_folder_of
from medseg.jobs import Progress, silent
from medseg.model import read_model, write_inference
from medseg.volumes import Volume, corner_distance_mm, in_axes_of, read_volume

GRID_TOLERANCE_MM = 0.1  # as when predictions are scored


def choose_postprocessing(
    model: str | Path,
    cases: str | Path | None = None,
    *,
    settings: PredictSettings | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Predict validation cases and put onto the model's card the post-processing that helps them.

    Organ by organ, by :func:`medseg.inference.choose_postprocess.choose_steps`; what the card said
    before is replaced. Every case is predicted once, without post-processing, and let go. Label
    maps that were predicted before are made anew when ``predict`` is called again.

    Args:
        model: Model folder, or run folder with ``model/`` in it.
        cases: Validation cases with labels, a list (JSON); of a run folder ``cases/val.json``
            unless given.
        settings: How to run.
        progress: Hears of every case.

    Returns:
        Plain data: the model, how many cases, and per organ its mean DSC before and after, the
        cases that have it and what was chosen (``None``: nothing).

    Raises:
        InputError: If a case cannot be used or has no label map; then nothing is written.
        UsageError: If no validation cases are known, or one is among the run's training or test
            cases: what is chosen on those says nothing about other cases.
        ModelError: If the model is missing, damaged or not trusted.
    """
    folder, settings = model_folder_of(model), settings or PredictSettings()
    path = Path(model) / "cases" / "val.json" if cases is None else Path(cases)
    if cases is None and not path.is_file():
        raise UsageError(f"{model}: no cases/val.json; name validation cases with --input")
    chosen_on = read_cases(path)
    if not chosen_on:
        raise InputError(path, "at least one validation case", "none")
    _refuse_others(Path(model), chosen_on)
    loaded = read_model(folder)
    kept = {k: v for k, v in loaded.spec.inference.items() if k != "postprocessing"}
    predictor = Predictor(replace(loaded, spec=replace(loaded.spec, inference=kept)), settings)
    organs = {
        organ: value
        for organ, value in loaded.spec.labels.items()
        if all(organ in case.labels for case in chosen_on)
    }
    if not organs:
        raise InputError(path, f"labels of {', '.join(loaded.spec.labels)}", "none in every case")
    compared = _compared(predictor, chosen_on, organs, progress)
    found = choose_steps(compared, organs)
    steps = {o: one.step.to_plain() for o, one in found.items() if one.step is not None}
    write_inference(folder, {"postprocessing": steps})
    plain = {organ: one.to_plain() for organ, one in found.items()}
    return {"model": str(folder), "cases": len(chosen_on), "organs": plain}


def _refuse_others(run: Path, cases: Sequence[Case]) -> None:
    for name in ("train", "test"):
        path = run / "cases" / f"{name}.json"
        if path.is_file():
            others = {_key(case) for case in read_cases(path)}
            for case in cases:
                if _key(case) in others:
                    raise UsageError(
                        f"{case.case_id}: one of {path}; choose on validation cases alone"
                    )


def _key(case: Case) -> tuple[Path, ...]:
    files = case.image if isinstance(case.image, tuple) else (case.image,)
    return tuple(path.resolve() for path in files)


def _compared(
    predictor: Predictor, cases: Sequence[Case], organs: Mapping[str, int], progress: Progress
) -> Iterator[Compared]:
    progress("Predicting", 0, len(cases))
    for done, case in enumerate(cases, 1):
        if case.label is None:
            raise InputError(case.case_id, "a label map", "none")
        label = read_volume(case.label, "label")
        pred = in_axes_of(predictor(read_image(case)), label)
        _check_grids(case, pred, label)
        truth = np.zeros(label.array.shape, pred.array.dtype)
        for organ, value in organs.items():
            truth[label.array == case.labels[organ]] = value
        yield pred.array, truth, label.spacing
        progress("Predicting", done, len(cases), case.case_id)


def _check_grids(case: Case, pred: Volume, label: Volume) -> None:
    same = pred.array.shape == label.array.shape
    if not same or corner_distance_mm(pred, label, label.array.shape) > GRID_TOLERANCE_MM:
        raise InputError(case.case_id, "a label map on the grid of its image", "another grid")
