"""What ``-m`` may name: a model folder, a bundle of our own, or a bundle of others."""

import hashlib
import json
from pathlib import Path
from typing import Any

from medseg.bundles.config import find_config, refuse_outside
from medseg.bundles.own import CARD as OWN_CARD
from medseg.bundles.own import is_own, read_own, spec_of_own
from medseg.bundles.trusted import network_name_of
from medseg.bundles.weights import WEIGHTS
from medseg.bundles.zoo import METADATA, labels_as_written
from medseg.errors import ModelError
from medseg.files import read_json, sha256
from medseg.model import CARD, LoadedModel, read_model


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, and no model folder."""
    there = is_own(folder) or find_config(folder) or (folder / METADATA).is_file()
    return bool(there) and not (folder / CARD).is_file()


def is_foreign(folder: Path) -> bool:
    """Whether a folder is a bundle that ``medseg export`` did not write."""
    return is_bundle(folder) and not is_own(folder)


def read_any(folder: Path) -> LoadedModel:
    """Read a model folder, or a bundle of our own as the model folder it was made of.

    Raises:
        ModelError: If it is missing, damaged or not trusted.
    """
    return read_own(folder) if is_bundle(folder) else read_model(folder)


def card_of(folder: Path) -> str:
    """SHA-256 of a model folder's card; of a bundle, of all files that are read.

    Raises:
        ModelError: If there is none.
    """
    if folder.suffix.lower() == ".zip":
        raise ModelError(f"{folder}: expected a folder; unzip the bundle first")
    try:
        if not is_bundle(folder):
            return sha256(folder / CARD)
        files = [OWN_CARD] if is_own(folder) else [METADATA, _config(folder).relative_to(folder)]
        digests = {}
        for name in (*files, WEIGHTS):
            refuse_outside(folder, folder / name)
            digests[name.as_posix()] = sha256(folder / name)
    except OSError as error:
        said = f"{CARD}: {(error.strerror or str(error)).lower()}"
        raise ModelError(f"{folder}: expected a model folder or a bundle, got {said}") from error
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def said_of(folder: Path) -> dict[str, Any]:
    """What a manifest says of a model: ``labels``, ``network`` and ``weights_sha256``.

    Raises:
        ModelError: If the model is damaged.
    """
    if not is_bundle(folder):
        card = read_json(folder / CARD)
        network, labels = str(card["network"]["_target_"]), card["labels"]
        return {"labels": labels, "network": network, "weights_sha256": card["weights_sha256"]}
    if is_own(folder):
        spec = spec_of_own(folder)
        network, labels = str(spec.network["_target_"]), dict(spec.labels)
    else:
        network, labels = network_name_of(folder), labels_as_written(folder)
    weights = sha256(folder / WEIGHTS)
    return {"labels": labels, "network": network, "weights_sha256": weights}


def _config(folder: Path) -> Path:
    found = find_config(folder)
    if found is None:
        raise ModelError(f"{folder}: expected a bundle with configs/inference.json, got none")
    return found
