"""Files of weights, read by what they hold and not by their names; none of them can run code."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from medseg.errors import InputError, ModelError
from medseg.files import read_json, sha256

CARD, WEIGHTS = "model.json", "weights.safetensors"
WRAPPERS = ("state_dict", "model", "model_state_dict", "network")  # keys that weights hide under
DAMAGE = (
    zipfile.BadZipFile,
    SafetensorError,
    RuntimeError,
    EOFError,
    OSError,
    KeyError,
    IndexError,
    ValueError,
    AttributeError,
    TypeError,
    UnicodeDecodeError,
)


@dataclass(frozen=True)
class WeightFile:
    """Weights as they were published, on the CPU.

    Attributes:
        path: The file; of a model folder, the one in it that holds the weights.
        sha256: Of its content.
        tensors: By the publisher's names; arrays of an ``.npz`` keep their axes.
        image_size: Height and width of the images they were trained on, where a model card says.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, torch.Tensor]
    image_size: tuple[int, ...] | None = None


def find_weights(path: str | Path) -> Path:
    """The file that holds the weights: ``path`` itself, or the one in a model or run folder.

    Raises:
        ModelError: If there is none.
    """
    path = Path(path)
    if path.is_dir():
        for folder in (path, path / "model"):
            if (folder / CARD).is_file() and (folder / WEIGHTS).is_file():
                return folder / WEIGHTS
        raise ModelError(f"{path}: expected a file of weights or a model folder, got a folder")
    if not path.is_file():
        raise ModelError(f"{path}: expected a file of weights, got no such file")
    return path


def read_weights(path: str | Path) -> WeightFile:
    """Read weights: PyTorch's, NumPy's ``.npz`` or safetensors; a model folder's are verified.

    Raises:
        ModelError: If the file is missing, damaged, something else, or brings code.
    """
    file = find_weights(path)
    digest = sha256(file)
    tensors = _read(file)
    if not tensors:
        raise ModelError(f"{file}: expected named weights, got none")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{file}: expected finite weights, got NaN or infinity in {name}")
    return WeightFile(file, digest, tensors, _image_size(file, digest))


def _read(file: Path) -> dict[str, torch.Tensor]:
    head = _head(file)
    try:
        if head.startswith(b"PK"):
            return _read_zip(file)
        if head.startswith(b"\x80"):  # PyTorch's format before 1.6
            return _state_dict(file, _load(file))
        if head[8:9] == b"{":
            return dict(load_file(file))
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file}: expected weights alone, got a file that wants to call code or is damaged; "
            "it was not run"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{file}: the file is damaged ({reason}); get it anew") from error
    raise ModelError(
        f"{file}: expected weights of PyTorch, NumPy (.npz) or safetensors, got {_kind(head)}"
    )


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(64)


def _kind(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head.lstrip().startswith(b"<"):
        return "a web page; the download went wrong"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the file itself with git lfs pull"
    return "something else"


def _read_zip(file: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()  # PyTorch does not look at the checksums
        names = archive.namelist()
    if damaged:
        raise ValueError(f"wrong checksum in {damaged}")
    if all(name.endswith(".npy") for name in names):
        with np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    return _state_dict(file, _load(file))


def _load(file: Path) -> Any:
    """PyTorch's reading without code; its word on protocols says nothing that a user could do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        return torch.load(file, map_location="cpu", weights_only=True)


def _state_dict(file: Path, content: Any) -> dict[str, torch.Tensor]:
    """The weights, taken out of what a training wraps them in."""
    for _ in range(3):
        inner = [key for key in WRAPPERS if isinstance(content, Mapping) and key in content]
        inner = [key for key in inner if isinstance(content[key], Mapping)]
        if not inner:
            break
        content = content[inner[0]]
    if not isinstance(content, Mapping):
        raise ModelError(f"{file}: expected named weights, got {type(content).__name__}")
    return {str(k): value for k, value in content.items() if isinstance(value, torch.Tensor)}


def _image_size(file: Path, digest: str) -> tuple[int, ...] | None:
    """What the model card beside the weights says of the images, once the two agree."""
    card_path = file.with_name(CARD)
    if file.name != WEIGHTS or not card_path.is_file():
        return None
    try:
        card = read_json(card_path)
        wanted = card["weights_sha256"]
        size = card["network"].get("image_size")
    except (InputError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{card_path}: expected a model card; {error}") from error
    if digest != wanted:
        raise ModelError(
            f"{file}: expected SHA-256 {str(wanted)[:12]}…, got {digest[:12]}…; "
            "the file is damaged or belongs to another model"
        )
    if isinstance(size, list) and size and all(isinstance(side, int) for side in size):
        return tuple(size)
    return None
