"""Bundles that ``medseg export`` wrote: their card and their weights, and nothing else of them."""

from pathlib import Path

from medseg.bundles.config import read_plain
from medseg.bundles.weights import WEIGHTS, load_network
from medseg.errors import ModelError
from medseg.files import sha256
from medseg.model import LoadedModel, ModelSpec, spec_of

CARD = Path("configs", "medseg.json")
CERTIFICATE = "certificate.json"


def is_own(folder: Path) -> bool:
    """Whether ``medseg export`` wrote a bundle."""
    return (folder / CARD).is_file()


def spec_of_own(folder: Path) -> ModelSpec:
    """What the card of a bundle of our own says.

    Raises:
        ModelError: If it is damaged.
    """
    card = read_plain(folder, folder / CARD)
    if not isinstance(card.get("network"), dict):
        raise ModelError(f"{folder / CARD}: expected a network, got {card.get('network')!r:.80}")
    return spec_of(folder / CARD, card)


def read_own(folder: Path) -> LoadedModel:
    """Read a bundle of our own as the model folder that it was made of.

    Card and weights are held against the certificate, where there is one. Configs, scripts and
    whatever else lies in the folder are not read.

    Raises:
        ModelError: If it is damaged, or names a network that is not trusted.
    """
    _check(folder)
    spec = spec_of_own(folder)
    return LoadedModel(spec, load_network(folder, spec.network), {})


def _check(folder: Path) -> None:
    if not (folder / CERTIFICATE).is_file():
        return
    files = read_plain(folder, folder / CERTIFICATE).get("files")
    if not isinstance(files, dict):
        raise ModelError(f"{folder / CERTIFICATE}: expected the hashes of the files, got none")
    for name in (CARD, WEIGHTS):
        path = folder / name
        if path.is_file() and sha256(path) != files.get(name.as_posix()):
            raise ModelError(f"{path}: expected the file as exported, got another content")
