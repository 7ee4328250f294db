"""A network as a file that runs without us: ONNX, torch.export, TorchScript."""

import contextlib
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from medseg.errors import ResourceError, UsageError
from medseg.export import run_exported
from medseg.export.chain import check_exportable
from medseg.export.results import Results, said_of
from medseg.files import atomic_path, write_json, write_text
from medseg.model import LoadedModel

ENGINES = {"onnx": "onnxruntime", "torch-export": "torch", "torchscript": "torch"}
README = """# {name}

`python run.py IMAGE.nii.gz -o predictions` writes a label map on the grid of each image.
It needs numpy, scipy, nibabel and {engine}, and neither medseg nor MONAI; `requirements.txt` names
the versions it was proved with, `certificate.json` says how. The network takes (B, {shape}) in
[0, 1], any B, and gives logits. Label values: {labels}.

## How well

{figures}
"""


def write_network(
    model: LoadedModel, folder: Path, kind: str, results: Results | None = None
) -> None:
    """Write the network, the pipeline around it and a script that runs both.

    Args:
        model: What is exported.
        folder: Where to.
        kind: ``"onnx"``, ``"torch-export"`` or ``"torchscript"``.
        results: How well the model did, from :func:`medseg.export.results.results_of`.

    Raises:
        UsageError: If the network cannot be written so, or no script can say what the model does.
    """
    check_exportable(model.spec)
    write_graph(model, folder, kind)
    write_json(folder / "pipeline.json", model.spec.to_plain())
    shutil.copyfile(run_exported.__file__, folder / "run.py")
    figures = said_of(model, results)
    write_text(folder / "README.md", _readme(model, ENGINES[kind], figures))
    write_text(folder / "requirements.txt", _requirements(ENGINES[kind]))


def write_graph(model: LoadedModel, folder: Path, kind: str) -> None:
    """Write the network alone, as ``model.onnx``, ``model.pt2`` or ``model.ts``.

    Args:
        model: What is exported.
        folder: Where to.
        kind: ``"onnx"``, ``"torch-export"`` or ``"torchscript"``.

    Raises:
        ResourceError: If the disk is full.
        UsageError: If the network cannot be written so.
    """
    sample = torch.randn(2, *model.spec.geometry.input_shape, generator=_fixed())
    try:
        with _quietly():
            with torch.inference_mode():
                model.network.eval()(sample)  # masks of windows are made once, with NumPy, and kept
            _WRITERS[kind](model.network, sample, folder)
    except ResourceError:
        raise
    except Exception as error:  # exporters raise what they like
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"export: this network cannot be written as {kind}: {said}") from error


def _onnx(network: nn.Module, sample: torch.Tensor, folder: Path) -> None:
    with atomic_path(folder / "model.onnx") as temporary:
        torch.onnx.export(
            network, (sample,), str(temporary), dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            input_names=["image"], output_names=["logits"],
        )  # fmt: skip


def _torch_export(network: nn.Module, sample: torch.Tensor, folder: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=1024)
    with torch.no_grad():
        program = torch.export.export(network, (sample,), dynamic_shapes=({0: batch},))
    with atomic_path(folder / "model.pt2") as temporary:
        torch.export.save(program, temporary)


def _torchscript(network: nn.Module, sample: torch.Tensor, folder: Path) -> None:
    with torch.no_grad():
        traced = torch.jit.trace(network, sample)  # type: ignore[no-untyped-call]
    with atomic_path(folder / "model.ts") as temporary:
        torch.jit.save(traced, str(temporary))


_WRITERS = {"onnx": _onnx, "torch-export": _torch_export, "torchscript": _torchscript}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what exporters say of themselves from the user."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _readme(model: LoadedModel, engine: str, figures: str) -> str:
    spec = model.spec
    values = ", ".join(f"{value} {organ}" for organ, value in spec.labels.items())
    shape = ", ".join(map(str, spec.geometry.input_shape))
    name = str(spec.network["_target_"]).rpartition(".")[2]
    return README.format(name=name, engine=engine, shape=shape, labels=values, figures=figures)


def _requirements(engine: str) -> str:
    from importlib.metadata import version

    names = ["numpy", "scipy", "nibabel", engine]
    return "".join(f"{name}=={version(name).split('+')[0]}\n" for name in names)
