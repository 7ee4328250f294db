"""One volume in, its label map on its own grid out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.averaging import Averaged, check_averaging
from medseg.inference.card import InferenceCard
from medseg.inference.compiled import compiled
from medseg.inference.label_map import Run, label_map_of
from medseg.inference.memory import forward_bytes, run_within, with_less
from medseg.inference.path import Path as NetworkPath
from medseg.inference.path import check_precision, choose_path
from medseg.inference.postprocess import postprocess
from medseg.inference.prepared import PreparedSlices
from medseg.inference.probe import sample_within
from medseg.inference.slices import sample_inputs
from medseg.inference.windows import sample_windows
from medseg.loading.geometry import PatchGeometry
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Header, Volume

DEVICES = ("cpu", "cuda", "mps")
NO_LABEL = "changes no label"  # in a field's metadata: a change of it leaves finished cases valid


def _no_label(default: Any) -> Any:
    return field(default=default, metadata={NO_LABEL: True})


@dataclass(frozen=True)
class PredictSettings:
    """How the network is run.

    Attributes:
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
        batch_size: Slices or patches per forward pass, at most; large patches are fewer.
        precision: ``"auto"``, the quickest that is safe; ``"float32"``, ``"bfloat16"`` or, on
            CUDA, ``"float16"``; see :func:`medseg.inference.path.choose_path`.
        suffix: Format of the label maps; those of FITS images are FITS.
        overwrite: Replace label maps that are there already.
        tta: Flips of the slices or patches whose probabilities are averaged: ``"none"``,
            ``"left_right"``, ``"front_back"`` or ``"flips"`` for both; see
            :mod:`medseg.inference.averaging` on organs that have a side.
        max_memory_gb: What the process may take, in GB (10^9 bytes); batch and slab become
            smaller for it. ``None`` leaves them as they are.
        overlap: Of neighbouring patches, at least 0 and below 1; ``None``: as the model's card
            says.
        extras: What is written beside the label map: ``"probabilities"``, see
            :class:`medseg.inference.probabilities.ProbabilityFile`; of a DICOM series also
            ``"seg"``, a DICOM SEG, and ``"rtstruct"``, contours.
        compile: Compile the network for this machine first, in the same precision, if that can be
            done here; see :mod:`medseg.inference.compiled`. Labels may differ where two classes
            are as good as equal, as they may between devices.
        trust: Run bundles that name more than the allow-list holds all the same, by MONAI in a
            process of its own: whatever code they bring runs with all rights of the user.
    """

    device: str = _no_label("auto")
    batch_size: int = _no_label(16)
    precision: str = "auto"
    suffix: str = ".nii.gz"
    overwrite: bool = _no_label(False)
    tta: str = "none"
    max_memory_gb: float | None = _no_label(None)
    overlap: float | None = None
    extras: tuple[str, ...] = ()
    compile: bool = _no_label(False)
    trust: bool = _no_label(False)


class Predictor:
    """Predict one volume after the other, on the quickest safe path through the network.

    Usable as a context manager, which lets go of the copies of the network at its end.

    Args:
        model: Stays as it is, but that its network is moved to the device. Of several, folds of
            a cross-validation say, the probabilities are averaged.
        settings: How to run; ``suffix`` and ``overwrite`` do not matter here.

    Attributes:
        model: The model, or the first of several.
        models: All of them.
        path: How the network is run, chosen on slices of the first volume; ``None`` before.
        run: How the last volume was run, or how the first one will be.
        spec: The model's, with the overlap that was asked for.

    Raises:
        UsageError: If device, precision or flips are unknown or not there, if an overlap is given
            that is none or to a model of slices, or if several models differ in labels,
            preprocessing, slices or patches.
        ModelError: If the card's inference settings make no sense.
    """

    def __init__(
        self, model: LoadedModel | Sequence[LoadedModel], settings: PredictSettings | None = None
    ) -> None:
        self.models = (model,) if isinstance(model, LoadedModel) else tuple(model)
        self.settings = settings or PredictSettings()
        self.model = _alike(self.models)
        self.device = pick_device(self.settings.device)
        check_precision(self.settings.precision, self.device)
        most = self.settings.max_memory_gb
        if most is not None and not most > 0:
            raise UsageError(f"max_memory_gb must be a number of GB above 0, got {most}")
        if most is not None and self.settings.compile:
            raise UsageError("what a compiled network takes is not known: max_memory_gb or compile")
        self.spec = _with_overlap(self.model.spec, self.settings.overlap)
        self.inference = InferenceCard.read(self.spec)
        check_averaging(self.settings.tta, self.inference.activation)
        self.path: NetworkPath | None = None
        self._network: nn.Module | None = None
        self._forward: tuple[float, float] | None = None
        self._averages = len(self.models) > 1 or self.settings.tta != "none"
        self.run = self._largest = Run(
            batch_size=self.settings.batch_size,
            device=self.device,
            activation=self.inference.activation,
        )
        for one in self.models:
            one.network.to(self.device)

    @property
    def labels(self) -> Mapping[str, int]:
        """Organ → value in the label maps."""
        return self.spec.labels

    @property
    def network_name(self) -> str:
        """Dotted path of the network."""
        return str(self.spec.network["_target_"])

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *error: object) -> None:
        self._network = self.path = self._forward = None

    def __call__(self, volume: Volume, probabilities: Path | None = None) -> Volume:
        """Label map of a volume on its own grid.

        Args:
            volume: All voxels finite.
            probabilities: ``.npy`` file for the probabilities, see
                :class:`medseg.inference.probabilities.ProbabilityFile`; ``None`` writes none.

        Raises:
            ResourceError: If memory ran out, also with one slice at a time.
        """
        native = Header(volume.array.shape, volume.affine, volume.array.dtype)
        images = PreparedSlices(volume, self.spec.preprocessing)
        spec = self.spec

        def attempt(run: Run) -> Volume:
            network = self._network_for(images)
            if self.settings.max_memory_gb is not None:
                most = self.settings.max_memory_gb
                if self._forward is None:
                    self._forward = forward_bytes(network, spec, self._largest)
                run = run_within(most, run, spec, images, native, self._forward)
            self.run = run
            return label_map_of(spec, images, native, network, run, probabilities)

        found, self._largest = with_less(self._largest, attempt)  # remembered where memory ran out
        return postprocess(found, self.inference.postprocessing, spec.labels)

    def _network_for(self, images: PreparedSlices) -> nn.Module:
        if self._network is None:
            sample = _sample(images, self.spec, self.device)
            networks = [one.network for one in self.models]
            sample = sample_within(self.settings.max_memory_gb, sample, networks)
            paths = [choose_path(one, sample, self.settings.precision) for one in networks]
            if self.settings.compile:
                size = min(self._largest.batch_of(self.spec), len(images))
                pairs = zip(paths, networks, strict=True)
                paths = [compiled(path, one, sample, size) for path, one in pairs]
            self.path = paths[0]
            networks = [path.network for path in paths]
            self._network = networks[0]
            if self._averages:
                averaged = Averaged(networks, self.settings.tta, self.inference.activation)
                self._network = averaged.eval()
        return self._network


def predict_volume(
    model: LoadedModel,
    volume: Volume,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> Volume:
    """Label map of one volume on its own grid: same shape, affine and orientation.

    The network is run as it is, under autocast if ``precision`` is not float32, and what it finds
    is not processed further; :class:`Predictor` is faster for whole volumes.

    Raises:
        ResourceError: If memory ran out.
    """
    native = Header(volume.array.shape, volume.affine, volume.array.dtype)
    images = PreparedSlices(volume, model.spec.preprocessing)
    run = Run(batch_size=batch_size, device=device, precision=precision)
    found, _ = with_less(
        run, lambda smaller: label_map_of(model.spec, images, native, model.network, smaller)
    )
    return found


def pick_device(name: str) -> torch.device:
    """Turn ``auto`` into the GPU if there is one.

    Raises:
        UsageError: If the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in DEVICES:
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda, cuda:N or mps")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.mps.device_count()}
    number = device.index or 0
    if number >= there[device.type]:
        kind = device.type.upper()
        raise UsageError(
            f"device {name!r}: there is no {kind} device {number} here; use cpu or auto"
        )
    return device


def _with_overlap(spec: ModelSpec, overlap: float | None) -> ModelSpec:
    if overlap is None:
        return spec
    if not isinstance(spec.geometry, PatchGeometry):
        raise UsageError(f"overlap {overlap:g}: the model sees whole slices, they do not overlap")
    return replace(spec, geometry=replace(spec.geometry, overlap=overlap))


def _sample(images: PreparedSlices, spec: ModelSpec, device: torch.device) -> torch.Tensor:
    """A few of the inputs that the network will see."""
    if isinstance(spec.geometry, PatchGeometry):
        return sample_windows(images, spec.geometry, device)
    return sample_inputs(images, spec.geometry, device)


def _alike(models: Sequence[LoadedModel]) -> LoadedModel:
    """The first of several models that can answer together."""
    if not models:
        raise UsageError("expected at least one model, got none")
    first = models[0].spec
    for one in models[1:]:
        for name in ("labels", "preprocessing", "geometry", "inference"):
            wanted, got = getattr(first, name), getattr(one.spec, name)
            same_order = name != "labels" or list(wanted) == list(got)
            if wanted != got or not same_order:
                raise UsageError(f"models of one ensemble differ in {name}: {wanted} and {got}")
    return models[0]
