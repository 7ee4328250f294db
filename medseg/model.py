"""The model folder: ``model.json`` beside ``weights.safetensors``, plain data and no code.

``model.json`` names the network by dotted path with plain arguments, the labels by organ, the
preprocessing, the slice geometry, where the weights came from, and their SHA-256. Reading a
folder imports nothing outside the packages below and never runs anything the folder brings.
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from medseg.errors import InputError, ModelError
from medseg.files import atomic_path, read_json, sha256, write_json
from medseg.loading.geometry import PatchGeometry, SliceGeometry
from medseg.loading.preprocessing import Preprocessing

FORMAT = 1
TRUSTED = ("medseg.networks.", "monai.networks.", "torch.nn.")
WEIGHTS, CARD = "weights.safetensors", "model.json"
LARGEST_CARD = 16 << 20  # bytes
SPARE = 100  # times more than the weights hold: layers without any, parts that are built twice
BUILD_ERRORS = (
    TypeError, ValueError, RuntimeError, MemoryError, ArithmeticError, AssertionError, LookupError,
    AttributeError, ImportError, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class ModelSpec:
    """Everything but the weights that is needed to predict.

    Attributes:
        network: ``{"_target_": dotted path, argument: plain value, ...}``.
        labels: Organ → value in the label maps it writes, in the order of the output channels
            after background.
        preprocessing: From the file's voxels to the network's numbers.
        geometry: From the prepared volume to the network's input: axial slices, or 3D patches.
        origin: What its training started from, plain data for the provenance.
        inference: How what it gives is turned into labels, plain data: see
            :class:`medseg.inference.card.InferenceCard`. Nothing by default.
    """

    network: Mapping[str, Any]
    labels: Mapping[str, int]
    preprocessing: Preprocessing
    geometry: SliceGeometry | PatchGeometry
    origin: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """As a model card has it, origin aside; :func:`spec_of` reads it back."""
        patches = isinstance(self.geometry, PatchGeometry)
        return {
            "network": dict(self.network),
            "labels": dict(self.labels),
            "preprocessing": asdict(self.preprocessing),
            "patches" if patches else "slices": asdict(self.geometry),
            **({"inference": dict(self.inference)} if self.inference else {}),
        }


@dataclass(frozen=True)
class LoadedModel:
    """A model folder in memory, its network in ``eval()`` mode on the CPU."""

    spec: ModelSpec
    network: nn.Module
    provenance: Mapping[str, Any]


def write_model(
    folder: str | Path, spec: ModelSpec, network: nn.Module, provenance: Mapping[str, Any]
) -> None:
    """Write a model folder; the card comes last, so that it never names absent weights."""
    folder = Path(folder)
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({key: value.clone() for key, value in tensors.items()}, temporary)
        temporary.chmod(0o644)  # safetensors lets only the owner read it
        digest = sha256(temporary)
    written = {"provenance": {**provenance, **spec.origin}, "weights_sha256": digest}
    write_json(folder / CARD, {"format": FORMAT, **spec.to_plain(), **written})


def write_inference(folder: str | Path, inference: Mapping[str, Any]) -> None:
    """Put inference settings into the card of a model folder; its weights stay as they are.

    Args:
        folder: Model folder.
        inference: Replaces those of the same names; others on the card stay.

    Raises:
        ModelError: If there is no model.
    """
    folder = Path(folder)
    card = _read_card(folder)
    card["inference"] = {**card.get("inference", {}), **inference}
    write_json(folder / CARD, card)


def read_model(folder: str | Path) -> LoadedModel:
    """Read and verify a model folder.

    Raises:
        ModelError: If it is missing, damaged, of a later format, or names a network outside
            ``medseg.networks``, ``monai.networks`` and ``torch.nn``.
    """
    folder = Path(folder)
    card, weights = _read_card(folder), folder / WEIGHTS
    if not weights.is_file():
        raise ModelError(f"{weights}: expected the model's weights, got no such file")
    _refuse_outside(folder, weights)
    digest = sha256(weights)
    if digest != card["weights_sha256"]:
        raise ModelError(
            f"{weights}: expected SHA-256 {card['weights_sha256'][:12]}…, got {digest[:12]}…; "
            "the file is damaged or belongs to another model"
        )
    spec = spec_of(folder / CARD, card)
    try:
        with safe_open(weights, framework="pt") as file:
            tensors = len(file.keys())
    except SafetensorError as error:
        raise ModelError(f"{weights}: expected safetensors, got {error}") from error
    with no_larger_than(weights, tensors):
        network = build_network(spec.network)
    try:
        network.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).strip().replace("\n", " ")[:300]
        raise ModelError(
            f"{weights}: expected weights of {card['network']['_target_']}; {reason}"
        ) from error
    return LoadedModel(spec, network.eval(), card.get("provenance", {}))


def build_network(network: Mapping[str, Any]) -> nn.Module:
    """Build the network that a model card names, or refuse it.

    Raises:
        ModelError: If the dotted path is not trusted or the arguments do not fit.
    """
    arguments = dict(network)
    target = str(arguments.pop("_target_", ""))
    if not target.startswith(TRUSTED):
        raise ModelError(
            f"network {target!r}: expected a path in {', '.join(name[:-1] for name in TRUSTED)}; "
            "other code is not run"
        )
    if _names_code(arguments):
        raise ModelError(f"network {target!r}: expected plain arguments, got one that names code")
    if _names_files(arguments):
        raise ModelError(
            f"network {target!r}: expected plain arguments, got one that names a file or asks for "
            f"weights from elsewhere"
        )
    module_name, _, class_name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"network {target!r}: no such network here ({error})") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(f"network {target!r}: expected a torch.nn.Module, got {found!r}")
    if not f"{found.__module__}.".startswith(TRUSTED):
        raise ModelError(
            f"network {target!r}: it stands in {found.__module__}, which is not trusted"
        )
    try:
        return found(**arguments)
    except BUILD_ERRORS as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(f"network {target!r}: {said}") from error


def _names_code(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith(("$", "@", "%"))
    if isinstance(value, Mapping):
        return "_target_" in value or any(_names_code(part) for part in value.values())
    return isinstance(value, (list, tuple)) and any(_names_code(part) for part in value)


def _names_files(value: Any) -> bool:
    """Paths and addresses, and wishes for pretrained weights, which some networks fetch."""
    if isinstance(value, str):
        return "/" in value or "\\" in value
    if isinstance(value, Mapping):
        wishes = any("pretrained" in str(key) and bool(part) for key, part in value.items())
        return wishes or any(_names_files(part) for part in value.values())
    return isinstance(value, (list, tuple)) and any(_names_files(part) for part in value)


def _refuse_outside(folder: Path, file: Path) -> None:
    """Links are followed within the folder alone."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{file}: expected a file in the model folder, got a link out of it")


@contextmanager
def no_larger_than(weights: Path, tensors: int) -> Iterator[None]:
    """Refuse networks built in the block as soon as they outgrow their weights by far.

    Counting while parameters are made stops a network of absurd size before it takes memory or
    time: fresh memory costs nothing until it is filled, which comes after.

    Args:
        weights: The file, not compressed.
        tensors: How many are in it.

    Raises:
        ModelError: In the block, if so.
    """
    left = {"layers": SPARE * (tensors + SPARE), "numbers": SPARE * weights.stat().st_size + 10**6}

    def count(what: str, number: int) -> None:
        left[what] -= number
        if left[what] < 0:
            raise ModelError(f"{weights}: expected weights of the network that the card describes, "
                             f"got far fewer {what}")  # fmt: skip

    hooks = [
        register_module_module_registration_hook(lambda *_: count("layers", 1)),
        register_module_parameter_registration_hook(
            lambda _module, _name, parameter: count("numbers", _numbers(parameter))
        ),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _numbers(parameter: nn.Parameter | None) -> int:
    return 0 if parameter is None else parameter.numel()


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    if path.is_file():
        _refuse_outside(folder, path)
        if path.stat().st_size > LARGEST_CARD:
            raise ModelError(f"{path}: expected a model card, got {path.stat().st_size:,} bytes")
    try:
        card = read_json(folder / CARD)
    except (InputError, OSError) as error:
        raise ModelError(f"{folder}: expected a model folder with {CARD}; {error}") from error
    wanted = {"format", "network", "labels", "preprocessing", "weights_sha256"}
    if not isinstance(card, dict) or not wanted <= card.keys():
        raise ModelError(f"{folder / CARD}: expected the keys {sorted(wanted)}")
    if len({"slices", "patches"} & card.keys()) != 1:
        raise ModelError(f"{folder / CARD}: expected either slices or patches")
    if card["format"] != FORMAT:
        raise ModelError(
            f"{folder / CARD}: expected format {FORMAT}, got {card['format']!r}; update medseg"
        )
    return card


def spec_of(path: Path, card: Mapping[str, Any]) -> ModelSpec:
    """What a model card says, but for the weights.

    Args:
        path: Names the card in errors.
        card: Its content.

    Raises:
        ModelError: If it is not understood.
    """
    try:
        return ModelSpec(
            network=card["network"],
            labels={str(organ): int(value) for organ, value in card["labels"].items()},
            preprocessing=Preprocessing(**card["preprocessing"]),
            geometry=_geometry(card),
            inference=dict(card.get("inference", {})),
        )
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(f"{path}: {error}") from error


def _geometry(card: Mapping[str, Any]) -> SliceGeometry | PatchGeometry:
    if "patches" in card:
        return PatchGeometry(**card["patches"])
    return SliceGeometry(**card["slices"])
