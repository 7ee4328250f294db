"""Whether an export from a stranger can be run: only if it is what we would have written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import ModelError
from medseg.export import run_exported
from medseg.export.bundle import LOGGING, as_bundle_json
from medseg.export.inference_config import inference_config
from medseg.export.proof import files_of_export, is_bundle
from medseg.files import read_json
from medseg.model import build_network, spec_of

WRITTEN_BY_USERS = ("data/", "eval/", "train/", "models/model_")
ASK = "--trust runs it all the same, with whatever code it brings"


def check_trusted(folder: Path, certificate: Mapping[str, Any]) -> None:
    """Refuse an export that would run other code than ours.

    A bundle's configs hold expressions that MONAI runs, and any Python file beside them can take
    the place of a package. So its ``inference.json`` must be the one that its model gets from
    this version, its folder must hold no further files, and another export must bring our script
    and an ONNX network, since torch's formats can hold code.

    Raises:
        ModelError: If so.
    """
    for name in files_of_export(folder):
        if name not in certificate["files"] and not name.startswith(WRITTEN_BY_USERS):
            raise ModelError(f"{folder / name}: expected the export's own files alone; {ASK}")
    for name in certificate["files"]:
        if name.endswith((".py", ".pyc", ".so", ".pth")) and name != "run.py":
            raise ModelError(f"{folder / name}: expected no code in an export; {ASK}")
    if is_bundle(folder):
        _check_bundle(folder)
    elif not (folder / "model.onnx").is_file():
        raise ModelError(f"{folder}: expected model.onnx, torch's formats can hold code; {ASK}")
    elif (folder / "run.py").read_bytes() != Path(run_exported.__file__).read_bytes():
        raise ModelError(f"{folder / 'run.py'}: expected this version's script; {ASK}")


def _check_bundle(folder: Path) -> None:
    configs = folder / "configs"
    if not (configs / "medseg.json").is_file():
        raise ModelError(f"{folder}: expected a bundle of medseg's with medseg.json; {ASK}")
    spec = spec_of(configs / "medseg.json", read_json(configs / "medseg.json"))
    outputs = read_json(configs / "metadata.json")["network_data_format"]["outputs"]
    wanted = as_bundle_json(inference_config(spec, int(outputs["pred"]["num_channels"])))
    if (configs / "inference.json").read_text(encoding="utf-8") != wanted:
        raise ModelError(f"{configs / 'inference.json'}: expected this version's config; {ASK}")
    try:
        build_network(spec.network)  # refuses arguments that name code as well
    except ModelError as error:
        raise ModelError(f"{configs / 'inference.json'}: {error}; {ASK}") from error
    if (configs / "logging.conf").read_text(encoding="utf-8") != LOGGING:
        raise ModelError(f"{configs / 'logging.conf'}: expected medseg's; {ASK}")
