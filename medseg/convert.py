"""The function behind ``medseg convert-weights``: published weights as a file or model of ours."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.utils import set_determinism
from safetensors.torch import save_file
from torch import nn

import medseg
from medseg.config import build_network, load_config
from medseg.errors import UsageError
from medseg.files import atomic_path
from medseg.model import write_model
from medseg.networks.pretrained import as_paths, load_pretrained

SUFFIX = ".safetensors"


def convert_weights(
    weights: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: str | Path,
    overrides: Iterable[str] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Load published weights into the network of a config and write them under our names.

    Args:
        weights: One file, model folder or run folder, or several; see
            :func:`medseg.networks.pretrained.load_pretrained`.
        output: A ``.safetensors`` file, or a folder for a model that ``predict`` takes, with the
            labels, preprocessing and geometry of the config.
        model: YAML config, or the name of a shipped one; its ``network::pretrained`` plays no part.
        overrides: ``"section::key=value"``, such as ``"network::num_classes=4"``.
        overwrite: Replace what is there.

    Returns:
        ``{"output": path, "files": …, "used": …, "resized": …, "left": …, "unused": …}``, as
        :class:`medseg.networks.pretrained.LoadReport` names them.

    Raises:
        ModelError: If a file is missing, damaged or does not fit.
        UsageError: If the config does not fit together, or something is there already.
    """
    output, paths = Path(output), as_paths(weights)
    if not paths:
        raise UsageError("convert-weights: expected at least one file of weights, got none")
    _check_output(output, overwrite=overwrite)
    config = load_config(model, overrides)
    set_determinism(config.get_parsed_content("seed"))  # for what the files leave open
    network, spec = build_network(config, pretrained=False)
    report = load_pretrained(network, paths)
    if output.suffix == SUFFIX:
        _write_file(network, output)
    else:
        origin = {"pretrained": report.provenance()}
        provenance = {"versions": {"medseg": medseg.__version__}}
        write_model(output, replace(spec, origin=origin), network, provenance)
    return {"output": str(output), **report.to_plain()}


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix and output.suffix != SUFFIX and not output.is_dir():
        raise UsageError(f"{output}: expected a {SUFFIX} file or a folder for a model")
    taken = output if output.suffix == SUFFIX else output / "model.json"
    if taken.exists() and not overwrite:
        raise UsageError(f"{taken}: there already; --overwrite replaces it")


def _write_file(network: nn.Module, output: Path) -> None:
    with atomic_path(output) as temporary:
        save_file({k: v.clone().contiguous() for k, v in network.state_dict().items()}, temporary)
        temporary.chmod(0o644)  # safetensors lets only the owner read it
