"""The whole way once, on cases made here: phantom, training, label maps, results, report."""

from pathlib import Path
from typing import Any

from medseg.config import train
from medseg.datasets import phantom
from medseg.evaluation.evaluate import evaluate
from medseg.inference.predict import PredictSettings, predict
from medseg.jobs import Progress, silent
from medseg.report.report import report

CONFIG = "phantom_transunet"
CASES = {"train": 48, "val": 6, "test": 10}
SMALL_CASES = {"train": 4, "val": 2, "test": 2}
SMALL_CHANGES = (
    "image_size=[64,64]",
    "settings::max_epochs=2",
    "train_loader::batches_per_epoch=6",
    "settings::validate_every=1",
)


def demo(
    output: str | Path = "demo",
    *,
    small: bool = False,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write phantom cases, train TransUNet on them, and score it on cases it never saw.

    Args:
        output: Folder for data, run, label maps, results and report.
        small: Use few cases and steps; it shows that everything works, not how well.
        device: Where the network runs.
        workers: Processes for making and scoring cases.
        overwrite: Replace an earlier demo in ``output``.
        progress: Hears of every step.

    Returns:
        The results, and the paths of run, label maps and report.
    """
    output = Path(output)
    data, run = output / "data", output / "run"
    phantom.write(
        data, counts=SMALL_CASES if small else CASES, workers=workers, progress=progress,
        overwrite=overwrite,
    )  # fmt: skip
    changes = [f"data={data}", f"out_dir={run}", f"settings::device={device}"]
    changes += list(SMALL_CHANGES) * small
    train(CONFIG, changes, overwrite=overwrite, workers=workers, progress=progress)

    cases = run / "cases" / "test.json"
    settings = PredictSettings(device=device, overwrite=overwrite)
    predict(cases, output / "predictions", model=run, settings=settings, progress=progress)
    results = evaluate(
        output / "predictions", cases, output / "results", workers=workers, progress=progress
    )
    page = report(output / "results", output / "report.html", run=run, progress=progress)
    return {"results": results, "run": str(run), "report": str(page)}
