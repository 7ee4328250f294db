"""A model folder as a MONAI bundle, in the form of the model zoo."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from medseg.errors import UsageError
from medseg.export.chain import Config, check_exportable
from medseg.export.inference_config import evaluate_config, inference_config
from medseg.export.metadata import metadata_of
from medseg.export.model_card import model_card
from medseg.export.networks import write_graph
from medseg.export.results import Results, eval_metrics, said_of
from medseg.export.train_config import multi_gpu_config, train_config
from medseg.files import atomic_path, sha256, write_text
from medseg.model import LoadedModel

LOGGING = """[loggers]
keys=root

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""
LARGE = 25 << 20  # bytes; larger files do not go into the zoo's repository
LICENSE = "The licence of this bundle was not stated by those who exported it; ask them.\n"
DATA_LICENSE = """The data this model was trained on are not part of this bundle.

{said}
"""


def write_bundle(
    model: LoadedModel,
    folder: Path,
    about: Mapping[str, Any],
    *,
    results: Results | None = None,
    pictures: Mapping[str, str] | None = None,
) -> None:
    """Write the files of a bundle into an empty folder.

    Args:
        model: What is exported.
        folder: Where to.
        about: As :func:`medseg.export.metadata.metadata_of` has it, and the texts
            ``license`` and ``data_license``.
        results: How well the model did, from :func:`medseg.export.results.results_of`.
        pictures: Of the card: file name in ``docs/`` → caption.

    Raises:
        UsageError: If no chain of transforms can say what the model does.
    """
    check_exportable(model.spec)
    said = dict(about)
    license_of_data = said.pop("data_license", "Their licence was not stated at the export.")
    license_of_bundle = said.pop("license", LICENSE)
    channels = channels_of(model)
    inference, train = inference_config(model.spec, channels), train_config(model.spec, channels)
    configs = {
        "inference": inference,
        "evaluate": evaluate_config(model.spec, channels),
        "train": train,
        "multi_gpu_train": multi_gpu_config(),
    }
    said = {"eval_metrics": eval_metrics(model, results), **said}
    metadata = metadata_of(model, list(configs.values()), channels=channels, about=said)
    card = model_card(model, metadata, said_of(model, results), pictures or {})
    for name, config in {"metadata": metadata, **configs}.items():
        write_text(folder / "configs" / f"{name}.json", as_bundle_json(config))
    write_text(folder / "configs" / "medseg.json", as_bundle_json(model.spec.to_plain()))
    write_text(folder / "configs" / "logging.conf", LOGGING)
    write_text(folder / "docs" / "README.md", card)
    write_text(folder / "docs" / "data_license.txt", DATA_LICENSE.format(said=license_of_data))
    write_text(folder / "LICENSE", license_of_bundle)
    with atomic_path(folder / "models" / "model.pt") as temporary:
        torch.save(dict(model.network.state_dict()), temporary)
    with contextlib.suppress(UsageError):  # not every network can be traced
        write_graph(model, folder / "models", "torchscript")


def list_large(folder: Path) -> None:
    """Name files that the zoo keeps elsewhere; their addresses are for those who upload them.

    Args:
        folder: A bundle, complete but for its certificate; gets ``large_files.yml`` if any file
            is above the zoo's 25 MB.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    large = [path for path in files if path.stat().st_size > LARGE]
    if large:
        rows = [
            {"path": path.relative_to(folder).as_posix(), "url": "", "hash_val": sha256(path),
             "hash_type": "sha256"}
            for path in large
        ]  # fmt: skip
        listed = yaml.safe_dump({"large_files": rows}, sort_keys=False)
        write_text(folder / "large_files.yml", listed)


def channels_of(model: LoadedModel) -> int:
    """Channels of what the network gives."""
    with torch.inference_mode():
        scores = model.network(torch.zeros(1, *model.spec.geometry.input_shape))
    return int(scores.shape[1])


def as_bundle_json(config: Config) -> str:
    """A config as the zoo writes it."""
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"
