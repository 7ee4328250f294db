"""The ``medseg`` command: its verbs, exit codes and ``--json``.

Heavy packages are imported inside the verbs that need them, so that ``--help`` and ``info``
answer at once. Everything for people goes to stderr; stdout holds results, or with ``--json``
exactly one JSON document.
"""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.errors import CasesFailedError, InputError, MedsegError, ResourceError, StoppedError
from medseg.terminal import Bars, answer, say, show_check, show_info, show_results, show_store

app = typer.Typer(
    name="medseg",
    help="Segment organs in CT and MRI, and trust the figures that come out.",
    epilog="Start with `medseg demo`: it makes phantom CTs, trains, predicts and reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

# typer exports the children of its ClickException, not ClickException itself
ClickError: Any = typer.BadParameter.__mro__[2]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--no-progress", help="Show no progress bars.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]


@app.command()
def info(as_json: AsJson = False) -> None:
    """Show versions, shipped configs and shipped scripts.

    Example: `medseg info --json`
    """
    from medseg.info import info as collect

    answer(collect(), as_json, show_info)


@app.command()
def check(
    folder: Annotated[Path, typer.Option("-i", "--input", help="Data set, or a case list (JSON).")],
    dataset: Annotated[str | None, typer.Option(help="Its layout, if not recognised.")] = None,
    tolerance_mm: Annotated[float, typer.Option(help="Grids this close are the same.")] = 0.01,
    workers: Workers = 2,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Look through a data set for whatever would spoil training; exit 3 if it has faults.

    Example: `medseg check -i data/hippocampus`
    """
    from medseg.datasets.check import check as check_dataset

    with Bars(not no_progress) as bars:
        found = check_dataset(
            folder, dataset=dataset, workers=workers, tolerance_mm=tolerance_mm, progress=bars
        )
    answer(found.to_plain(), as_json, lambda plain: show_check(plain, folder))
    if not found.ok:
        raise typer.Exit(InputError.exit_code)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to fill.")] = Path("demo"),
    small: Annotated[bool, typer.Option(help="A minute's run; its figures mean nothing.")] = False,
    device: Device = "auto",
    workers: Workers = 2,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Make phantom CTs, train TransUNet on them, predict, evaluate and report.

    Example: `medseg demo -o demo`
    """
    from medseg.demo import demo as run_demo

    with Bars(not no_progress) as bars:
        done = run_demo(
            output, small=small, device=device, workers=workers, overwrite=overwrite, progress=bars
        )
    answer(done["results"] if not as_json else done, as_json, show_results)
    say(f"Report: {done['report']}")


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped config.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION::KEY=VALUE]...")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    workers: Workers = 2,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Train the network of a config.

    Examples: `medseg train hippocampus_transunet data=data/hippocampus`,
    `medseg train my.yaml settings::max_epochs=5 --resume`
    """
    from medseg.config import train as run_training

    changes = list(overrides or []) + ([f"settings::device={device}"] if device else [])
    with Bars(not no_progress) as bars:
        run = run_training(
            config, changes, resume=resume, overwrite=overwrite, workers=workers, progress=bars
        )
    answer({"run": str(run), "model": str(run / "model")}, as_json, _say_run)


@app.command()
def predict(
    source: Annotated[Path, typer.Option("-i", "--input", help="Volume, folder or case list.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the label maps.")],
    model: Annotated[Path, typer.Option("-m", "--model", help="Model folder or run folder.")],
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Slices per forward pass.")] = 16,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Write one label map per case, on the grid of its input.

    Example: `medseg predict -i ct.nii.gz -o out -m runs/phantom_transunet`
    """
    from medseg.inference.predict import PredictSettings
    from medseg.inference.predict import predict as run_prediction

    settings = PredictSettings(device=device, batch_size=batch_size, overwrite=overwrite)
    with Bars(not no_progress) as bars:
        done = run_prediction(source, output, model=model, settings=settings, progress=bars)
    answer(done, as_json, lambda _: say(f"Label maps: {output}"))
    failed = [case for case in done["cases"] if case["status"] != "done"]
    _stop_if_failed([(case["case_id"], case["error"]) for case in failed], len(done["cases"]))


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Option("-i", "--input", help="Predicted label maps.")],
    truth: Annotated[Path, typer.Option("-l", "--labels", help="True label maps or case list.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    images: Annotated[Path | None, typer.Option(help="Their images, for the report.")] = None,
    organs: Annotated[str | None, typer.Option(help="Organ=value pairs: liver=1,spleen=2.")] = None,
    truth_organs: Annotated[
        str | None, typer.Option(help="The same for the truth, where it differs.")
    ] = None,
    workers: Workers = 2,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Score label maps against truth: DSC and HD95 per organ and case.

    Example: `medseg evaluate -i out -l data/labelsTs -o results`
    """
    from medseg.evaluation.evaluate import evaluate as run_evaluation

    with Bars(not no_progress) as bars:
        results = run_evaluation(
            predictions, truth, output,
            labels=_label_map(organs), truth_labels=_label_map(truth_organs),
            images=images, workers=workers, progress=bars,
        )  # fmt: skip
    answer(results, as_json, show_results)
    failures = [(case["case_id"], case["error"]) for case in results["failures"]]
    _stop_if_failed(failures, len(results["cases"]) + len(failures))


@app.command()
def report(
    results: Annotated[Path, typer.Option("-i", "--input", help="results.json or its folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file.")],
    run: Annotated[Path | None, typer.Option(help="Run folder, for the curves.")] = None,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Write one HTML file: tables, curves, and the slices of the worst and the median case.

    Example: `medseg report -i results -o report.html --run runs/phantom_transunet`
    """
    from medseg.report.report import report as write_report

    with Bars(not no_progress) as bars:
        page = write_report(results, output, run=run, progress=bars)
    answer({"report": str(page)}, as_json, lambda _: say(f"Report: {page}"))


@app.command()
def copy(
    name: Annotated[str | None, typer.Argument(help="A shipped config or script.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="File or folder.")] = Path(),
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """List the shipped configs and scripts, or hand out a copy to edit.

    Example: `medseg copy phantom_transunet -o my_experiment.yaml`
    """
    from medseg.info import info as collect
    from medseg.shipped import copy_shipped

    if name is None:
        return answer(collect(), as_json, show_info)
    written = copy_shipped(name, output, overwrite=overwrite)
    return answer({"copy": str(written)}, as_json, lambda _: say(f"Copied to {written}"))


@app.command()
def store(
    prune_days: Annotated[float | None, typer.Option(help="Drop what was unused so long.")] = None,
    prune_gb: Annotated[
        float | None, typer.Option(help="Drop the longest unused above it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where the slice store is and how large, or make it smaller; nothing in it is precious.

    Example: `medseg store --prune-days 30`
    """
    from medseg.loading.store import default_root, prune, store_size

    max_bytes = None if prune_gb is None else int(prune_gb * 1e9)
    asked = prune_days is not None or max_bytes is not None
    freed = prune(older_than_days=prune_days, max_bytes=max_bytes) if asked else 0
    found = {"folder": str(default_root()), "bytes": store_size(), "freed_bytes": freed}
    answer(found, as_json, show_store)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end with the exit code that fits."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; a user never sees a traceback."""
    try:
        result = app(args=arguments, standalone_mode=False, prog_name="medseg")
    except ClickError as error:
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        result = StoppedError.exit_code
    except MedsegError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory", ResourceError.exit_code)
    except OSError as error:
        code = ResourceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else InputError
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}", code.exit_code)
    except Exception as error:
        if os.environ.get("MEDSEG_DEBUG"):
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"internal error: {said} (MEDSEG_DEBUG=1 shows where)", 1)
    if result == StoppedError.exit_code:  # typer turns Ctrl-C into this code itself
        return _fail("interrupted", result)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    say(f"medseg: {' '.join(message.split())}")
    return code


def _say_run(done: dict[str, str]) -> None:
    say(f"Run: {done['run']}\nModel: {done['model']}")


def _stop_if_failed(failures: list[tuple[str, str]], total: int) -> None:
    for case_id, error in failures:
        say(f"failed: {case_id}: {error}")
    if failures:
        raise CasesFailedError(f"{len(failures)} of {total} cases failed; the others are written")


def _label_map(text: str | None) -> dict[str, int] | None:
    if text is None:
        return None
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return {organ.strip(): int(value) for organ, value in pairs}
    except ValueError:
        raise typer.BadParameter(f"expected organ=value,organ=value, got {text!r}") from None
