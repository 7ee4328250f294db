"""Verbs around an experiment: what there is, the demo, training, the store."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import AsJson, Device, Overwrite, Quiet, Workers, app
from medseg.terminal import (
    Bars,
    answer,
    say,
    show_costs,
    show_info,
    show_loaded,
    show_results,
    show_store,
)


@app.command()
def info(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION::KEY=VALUE]...")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Config or model folder to look into.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show versions and what is shipped; or what a network costs, and which sizes it takes.

    Examples: `medseg info --json`, `medseg info --model synapse_transunet image_size=[512,512]`
    """
    from medseg.info import info as collect

    if model is None and overrides:
        raise typer.BadParameter("settings go with --model")
    answer(collect(model, overrides or ()), as_json, show_info if model is None else show_costs)


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


@app.command("convert-weights")
def convert_weights(
    weights: Annotated[list[Path], typer.Argument(help="Files of weights, or model folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=".safetensors file, or folder.")],
    model: Annotated[str, typer.Option("--model", help="Config of the network, file or name.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Bring published weights into the network of a config, and say what went where.

    Settings may follow the files, as `section::key=value`. Examples:
    `medseg convert-weights R50+ViT-B_16.npz -o start.safetensors --model synapse_transunet`,
    `medseg convert-weights epoch_149.pth -o model --model synapse_transunet`
    """
    from medseg.convert import convert_weights as convert

    overrides = [str(word) for word in weights if "=" in str(word) and not word.exists()]
    files = [path for path in weights if str(path) not in overrides]
    done = convert(files, output, model=model, overrides=overrides, overwrite=overwrite)
    answer(done, as_json, show_loaded)


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


def _say_run(done: dict[str, str]) -> None:
    say(f"Run: {done['run']}\nModel: {done['model']}")
