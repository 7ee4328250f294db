"""Verb that explains: explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.app import AsJson, Device, Quiet, app
from medseg.errors import UsageError
from medseg.terminal import Bars, answer, say, show_faithfulness

if TYPE_CHECKING:
    from medseg.explain import Options
    from medseg.explaining.request import Request

Model = Annotated[Path, typer.Argument(help="Model or run folder.")]
Image = Annotated[
    Path,
    typer.Option("-i", "--input", readable=False, help="Volume or DICOM; for --compare cases."),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for pages, maps and pictures.")
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="tiba (default), rollout, gradient_rollout, attention_gradient, raw, grad_cam, "
        "integrated_gradients, occlusion, random; several side by side; or all.",
    ),
]
Organ = Annotated[str, typer.Option(help="Organ whose logits are explained.")]
Against = Annotated[str | None, typer.Option(help="Organ that it is held against.")]
Slice = Annotated[
    str, typer.Option("--slice", help="largest (of the organ), an index of the file, or all.")
]
Voxel = Annotated[str | None, typer.Option(help="One voxel of the file instead: I,J,K.")]
Region = Annotated[Path | None, typer.Option(help="Label map: explain where it is not 0.")]
LayerIndex = Annotated[
    int | None, typer.Option("--layer", help="Attention layer, from 0; rollouts start there.")
]
Head = Annotated[int | None, typer.Option(help="One head of raw attention, from 0.")]
Heads = Annotated[str, typer.Option(help="How heads are joined: mean, max or min.")]
Discard = Annotated[float, typer.Option(help="Share of the smallest weights left out.")]
Module = Annotated[str | None, typer.Option(help="Module whose features Grad-CAM weighs.")]
Views = Annotated[
    bool, typer.Option("--views", help="Also every layer and head, distances, positions, filters.")
]


Compare = Annotated[
    bool,
    typer.Option(
        "--compare", help="Measure the methods on a case list with truth; organs by commas."
    ),
]
Page = Annotated[
    bool, typer.Option("--page/--no-page", help="One HTML file with all maps, beside them.")
]
Steps = Annotated[int, typer.Option(min=1, help="Of integrated gradients.")]
Window = Annotated[int | None, typer.Option(min=1, help="Pixels that occlusion covers.")]
MaxMemory = Annotated[float | None, typer.Option(min=0, help="GB for attention or a window.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Slices at once.")]


@app.command()
def explain(
    model: Model,
    image: Image,
    output: Output,
    organ: Organ,
    method: Methods = None,
    against: Against = None,
    slice_choice: Slice = "largest",
    voxel: Voxel = None,
    region: Region = None,
    layer: LayerIndex = None,
    head: Head = None,
    heads: Heads = "mean",
    discard: Discard = 0.0,
    module: Module = None,
    steps: Steps = 16,
    window: Window = None,
    views: Views = False,
    page: Page = True,
    max_memory: MaxMemory = None,
    compare: Compare = False,
    device: Device = "auto",
    batch_size: BatchSize = 4,
    as_json: AsJson = False,
    no_progress: Quiet = False,
) -> None:
    """Show what a model looks at when it finds an organ: a page, pictures, NIfTI maps, arrays.

    Examples: `medseg explain runs/vit -i ct.nii.gz -o why --organ liver --method tiba`,
    `medseg explain runs/vit -i ct.nii.gz -o why --organ liver --method all --slice all`,
    `medseg explain runs/vit -i runs/vit/cases/test.json -o right --organ liver,spleen --compare`
    """
    options = _options(layer, head, heads, discard, module, steps, window, max_memory)
    request = _request(organ, method, against, slice_choice, voxel, region, views, options)
    if compare:
        _compare(model, image, output, request, page, device, as_json, no_progress)
    else:
        _one(model, image, output, request, page, device, batch_size, as_json, no_progress)


def _options(
    layer: int | None,
    head: int | None,
    heads: str,
    discard: float,
    module: str | None,
    steps: int,
    window: int | None,
    max_memory: float | None,
) -> "Options":
    from medseg.explain import Options

    return Options(
        layer=layer, head=head, heads=heads, discard=discard, module=module, steps=steps,
        window=window, most_bytes=None if max_memory is None else max_memory * 1e9,
    )  # fmt: skip


def _request(
    organ: str,
    method: list[str] | None,
    against: str | None,
    slice_choice: str,
    voxel: str | None,
    region: Path | None,
    views: bool,
    options: "Options",
) -> "Request":
    from medseg.explain import method_names
    from medseg.explaining.request import Request

    named = method or ["tiba"]
    return Request(
        organ=organ, against=against,
        methods=tuple(method_names() if "all" in named else dict.fromkeys(named)),
        slice_index=_slice(slice_choice), whole_volume=slice_choice == "all",
        voxel=_voxel(voxel), region=region, options=options, views=views,
    )  # fmt: skip


def _one(
    model: Path,
    image: Path,
    output: Path,
    request: "Request",
    page: bool,
    device: str,
    batch_size: int,
    as_json: bool,
    no_progress: bool,
) -> None:
    from medseg.explaining.explain import explain as run

    with Bars(not no_progress) as bars:
        record = run(
            model, image, output, request=request, page=page, device=device,
            batch_size=batch_size, progress=bars,
        )  # fmt: skip
    answer(record, as_json, lambda plain: say(_summary(plain, output)))


def _compare(
    model: Path,
    source: Path,
    output: Path,
    request: "Request",
    page: bool,
    device: str,
    as_json: bool,
    no_progress: bool,
) -> None:
    from medseg.explaining.compare import PAGE, compare_methods

    if request != type(request)(
        organ=request.organ, methods=request.methods, options=request.options
    ):
        raise UsageError(
            "--compare measures each organ in the slice in which it is largest: leave out "
            "--against, --slice, --voxel, --region and --views"
        )
    with Bars(not no_progress) as bars:
        found = compare_methods(
            model, source, output, organs=[name.strip() for name in request.organ.split(",")],
            methods=request.methods, options=request.options, page=page, device=device,
            progress=bars,
        )  # fmt: skip
    answer(found, as_json, lambda plain: show_faithfulness(plain, output))
    if page and not as_json:
        say(f"Page: {output / PAGE}")


def _slice(choice: str) -> int | None:
    if choice in ("all", "largest"):
        return None
    try:
        return int(choice)
    except ValueError:
        raise UsageError(f"--slice: expected largest, all or an index, got {choice!r}") from None


def _voxel(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    try:
        i, j, k = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--voxel: expected three indices I,J,K, got {text!r}") from None
    return i, j, k


def _summary(record: dict[str, Any], output: Path) -> str:
    methods = ", ".join(
        f"{name} {found['seconds']:.1f} s" for name, found in record["methods"].items()
    )
    slices = record["slices"]
    which = f"slice {slices[0]}" if len(slices) == 1 else f"{len(slices)} slices"
    shown = ("Page", "page") if "page" in record else ("Picture", "picture")
    return f"{record['organ']}, {which}: {methods}\n{shown[0]}: {output / record[shown[1]]}"
