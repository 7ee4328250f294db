"""The verb ``roc``: a model over exposures, scored by the share of cosmic-ray pixels it finds."""

import time
from pathlib import Path
from typing import Any

import torch

from medseg.case import Case
from medseg.datasets.decam import COSMIC_RAY_CODE, survey
from medseg.errors import InputError, MedsegError, UsageError
from medseg.evaluation.roc import write_roc
from medseg.files import sha256
from medseg.inference.exposures import limits_of, score_exposure
from medseg.inference.inputs import cases_of
from medseg.inference.predict import PredictSettings, model_folder_of, pick_device
from medseg.jobs import Outcome, Progress, run_each, silent
from medseg.metrics import RocCounts
from medseg.model import LoadedModel, read_model
from medseg.volumes.exposure import exposure_of

STUDY_FPR = 1e-4  # 0.01 %, of the DeCAM study


def roc(
    input: str | Path,
    output: str | Path,
    *,
    model: str | Path,
    fpr: float = STUDY_FPR,
    code: int = COSMIC_RAY_CODE,
    settings: PredictSettings | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a model on exposures: its true-positive rate (TPR) at a false-positive rate (FPR).

    All pixels of all exposures make one curve. Memory does not grow with their number: the
    figures are bounds, equal to the exact one within a fraction of a per mille as a rule
    (:class:`medseg.metrics.RocCounts`).

    Args:
        input: A case list (JSON), or a folder of exposures in a layout of
            ``medseg.datasets.decam``.
        output: Folder for ``roc.json``, ``roc.csv`` and ``roc.png``; made if missing.
        model: Model folder, or run folder with ``model/`` in it.
        fpr: The false-positive rate, 0 to 1.
        code: The value that means cosmic ray in FITS data-quality maps of a folder.
        settings: How to run.
        progress: Hears of every finished exposure.

    Returns:
        What ``roc.json`` holds. One bad exposure never stops the others; the error of an only
        one is raised.

    Raises:
        InputError: If there is nothing to score, or the only exposure cannot be used.
        ModelError: If the model is missing, damaged, not trusted or not for exposures.
        UsageError: If ``fpr`` or the device does not fit.
    """
    if not 0 <= fpr <= 1:
        raise UsageError(f"fpr must lie in 0..1, got {fpr:g}")
    settings = settings or PredictSettings()
    cases, folder = _cases(Path(input), code), model_folder_of(model)
    loaded, device = read_model(folder), pick_device(settings.device)
    limits_of(loaded)
    loaded.network.to(device)
    counts = RocCounts()

    def score(case: Case) -> dict[str, Any]:
        return _score(loaded, case, counts, settings, device)

    entries: list[dict[str, Any]] = []
    progress("Scoring", 0, len(cases))
    for outcome in run_each(score, cases):
        if len(cases) == 1:
            outcome.unwrap()
        entries.append(_entry(outcome))
        progress("Scoring", len(entries), len(cases), outcome.item.case_id)
    card = {
        "folder": str(folder.resolve()),
        "card_sha256": sha256(folder / "model.json"),
        "network": str(loaded.spec.network["_target_"]),
    }
    facts = {"model": card, "device": str(device), "cases": entries}
    return write_roc(counts, output, fpr, facts)


def _cases(source: Path, code: int) -> list[Case]:
    if not source.is_dir():
        return cases_of(source)
    found = survey(source, code=code)
    every = [case for cases in found.splits.values() for case in cases] + list(found.rest)
    return list({case.case_id: case for case in every}.values())


def _score(
    loaded: LoadedModel,
    case: Case,
    counts: RocCounts,
    settings: PredictSettings,
    device: torch.device,
) -> dict[str, Any]:
    """Score one exposure and add its pixels to the counts."""
    start, exposure = time.perf_counter(), exposure_of(case)
    if exposure.mask is None:
        raise InputError(_image(case), "an exposure with a mask of cosmic rays", "none")
    scores = score_exposure(
        loaded, exposure, batch_size=settings.batch_size, device=device,
        precision=settings.precision,
    )  # fmt: skip
    counts.add(scores, exposure.mask, exposure.ignore)
    return {"status": "done", "seconds": round(time.perf_counter() - start, 3)}


def _image(case: Case) -> Path:
    return case.image if isinstance(case.image, Path) else case.image[0]


def _entry(outcome: Outcome[Case, dict[str, Any]]) -> dict[str, Any]:
    entry = {"case_id": outcome.item.case_id, "image": str(_image(outcome.item).resolve())}
    if outcome.error is None:
        return entry | outcome.unwrap()
    error = outcome.error
    text = str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}"
    return entry | {"status": "failed", "error": " ".join(text.split())}
