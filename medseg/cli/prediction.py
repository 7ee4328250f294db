"""Verbs that predict and show what was predicted: predict, choose-postprocessing, view."""

from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.app import AsJson, Cluster, Device, NumParts, PartId, Quiet, Resume, Workers, app
from medseg.cli.cases import stop_if_failed
from medseg.cli.evaluation import organ_values
from medseg.cli.tables import show_choice
from medseg.terminal import Bars, answer, say

Source = Annotated[
    Path,
    typer.Option("-i", "--input", readable=False, help="Volume, DICOM, folder, list or CSV."),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the label maps.")]
Models = Annotated[
    list[Path],
    typer.Option("-m", "--model", help="Model or run folder, or MONAI bundle; several: mean."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Slices per forward pass.")]
Precision = Annotated[
    str, typer.Option(help="auto (quickest safe one), float32, bfloat16 or float16.")
]
Flips = Annotated[
    str, typer.Option(help="Flips to average over: none, left_right, front_back or flips.")
]
MaxMemory = Annotated[
    float | None, typer.Option(help="GB this process may take; batches shrink for it.")
]
Overlap = Annotated[
    float | None, typer.Option(help="Share that patches of a 3D model overlap; else its own.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the network first; pays for many cases.")
]
Format = Annotated[
    str, typer.Option("--format", help="Of the label maps: nii.gz, nii, nrrd or mha.")
]
Seg = Annotated[bool, typer.Option("--dicom-seg", help="A DICOM SEG besides, for DICOM series.")]
Probabilities = Annotated[
    bool,
    typer.Option("--probabilities", help="Those of every class besides, float16 in .npy."),
]
Contours = Annotated[
    bool, typer.Option("--rtstruct", help="Contours as RTSTRUCT besides, for DICOM series.")
]
Series = Annotated[
    str | None, typer.Option(metavar="UID", help="Which series of a DICOM folder or zip.")
]
Preview = Annotated[
    bool, typer.Option("--preview", help="Draw a picture per case: three planes, contours.")
]
TRUSTED = (
    "--trust: code that the bundle brings runs on this machine with all your rights; it can read, "
    "change and send whatever you can"
)


def _warn(trust: bool) -> bool:
    if trust:
        say(TRUSTED)
    return trust


Trust = Annotated[
    bool, typer.Option("--trust", callback=_warn, help="Run whatever code a bundle brings.")
]


@app.command()
def predict(
    source: Source,
    output: Output,
    model: Models,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    precision: Precision = "auto",
    tta: Flips = "none",
    max_memory: MaxMemory = None,
    overlap: Overlap = None,
    compiled: Compile = False,
    form: Format = "nii.gz",
    seg: Seg = False,
    rtstruct: Contours = False,
    probabilities: Probabilities = False,
    series: Series = None,
    preview: Preview = False,
    trust: Trust = False,
    overwrite: Resume = False,
    workers: Workers = 1,
    num_parts: NumParts = None,
    part_id: PartId = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Write one label map per case, on the grid of its input.

    Stopped, it goes on where it was when the same command is given again. The same command may
    be given several times at once, on one or more machines: they share the cases.

    A MONAI bundle, of `medseg export` or of the model zoo, runs no code that it brings: one that
    names more than docs/bundles.md lists is refused. `--trust` has MONAI run it all the same,
    with all your rights.

    Examples: `medseg predict -i ct.nii.gz -o out -m runs/phantom_transunet`,
    `medseg predict -i scans/ -o out -m runs/phantom_transunet --format nrrd --preview`
    """
    from medseg.inference.predict import PredictSettings
    from medseg.inference.predict import predict as run_prediction
    from medseg.jobs import JobSettings

    settings = PredictSettings(
        device=device, batch_size=batch_size, precision=precision, overwrite=overwrite,
        suffix=f".{form.lstrip('.').lower()}", tta=tta, max_memory_gb=max_memory,
        overlap=overlap, compile=compiled, trust=trust,
        extras=_chosen(probabilities=probabilities, seg=seg, rtstruct=rtstruct),
    )  # fmt: skip
    jobs = JobSettings(num_parts=num_parts, part_id=part_id, cluster=cluster)
    with Bars(not no_progress) as bars:
        done = run_prediction(
            source, output, model=model, settings=settings, series_uid=series, workers=workers,
            jobs=jobs, progress=bars,
        )  # fmt: skip
        if preview:
            _draw(output, bars)
    _tell(done, output, as_json)


def _chosen(*, probabilities: bool, seg: bool, rtstruct: bool) -> tuple[str, ...]:
    extras = {"probabilities": probabilities, "seg": seg, "rtstruct": rtstruct}
    return tuple(name for name, wanted in extras.items() if wanted)


def _tell(done: dict[str, Any], output: Path, as_json: bool) -> None:
    if done["path"]:
        say(f"Network run in {done['path']['precision']}: {done['path']['why']}")
    answer(done, as_json, lambda _: say(_summary(done, output)))
    failed = [case for case in done["cases"] if case["status"] == "failed"]
    stop_if_failed([(case["case_id"], case["error"]) for case in failed], len(done["cases"]))


@app.command("choose-postprocessing")
def choose_postprocessing(
    model: Annotated[Path, typer.Option("-m", "--model", help="Run folder, or model folder.")],
    cases: Annotated[
        Path | None, typer.Option("-i", "--input", help="Validation cases (JSON); the run's own.")
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Choose on validation cases which post-processing helps which organ; it goes onto the card.

    Example: `medseg choose-postprocessing -m runs/phantom_transunet`
    """
    from medseg.choose_postprocessing import choose_postprocessing as choose
    from medseg.inference.predict import PredictSettings

    settings = PredictSettings(device=device, batch_size=batch_size)
    with Bars(not no_progress) as bars:
        found = choose(model, cases, settings=settings, progress=bars)
    answer(found, as_json, show_choice)


def _draw(output: Path, bars: Bars) -> None:
    from medseg.preview import preview

    for case_id, error in preview(output, progress=bars).items():
        say(f"no picture: {case_id}: {error}")


@app.command()
def view(
    source: Annotated[
        Path,
        typer.Option(
            "-i", "--input", readable=False, help="Image; or, with --case, predictions or results."
        ),
    ],
    label_maps: Annotated[
        list[Path] | None, typer.Option("-l", "--labels", help="Label map; may be repeated.")
    ] = None,
    case_id: Annotated[str | None, typer.Option("--case", help="Case of a folder.")] = None,
    series: Series = None,
    organs: Annotated[str | None, typer.Option(help="Organ=value pairs: liver=1,spleen=2.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it.")] = True,
    once: Annotated[bool, typer.Option("--once", help="End when the page has been sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show an image and label maps in the browser, on this machine alone, until Ctrl-C.

    Examples: `medseg view -i ct.nii.gz -l out/ct.nii.gz`, `medseg view -i out --case ct`
    """
    from medseg.view.view import view as show

    def tell(address: str) -> None:
        answer({"address": address}, as_json, lambda _: say(f"{address} (Ctrl-C ends it)"))

    show(
        source, label_maps or (), labels=organ_values(organs), case_id=case_id,
        series_uid=series, open_browser=browser, once=once, started=tell,
    )  # fmt: skip


def _summary(done: dict[str, Any], output: Path) -> str:
    pending = sum(case["status"] == "pending" for case in done["cases"])
    return f"Label maps: {output}" + (
        f"; {pending} cases are left to other parts" if pending else ""
    )
