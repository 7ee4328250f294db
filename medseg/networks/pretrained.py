"""Published weights into our networks, with a report of what went where.

Read are the original TransUNet's checkpoints, Google's ViT and hybrid ``.npz`` files, DeiT and
timm, torchvision's and MONAI's ResNets, Segmenter, and what medseg writes itself.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import ModelError
from medseg.networks.weight_files import WeightFile, find_weights, read_weights
from medseg.networks.weight_fit import (
    EXTRA_TOKENS,
    PATCH_BIAS,
    PATCH_WEIGHT,
    Fit,
    Source,
    differs_by_classes,
    fit,
)
from medseg.networks.weight_names import place, rename

PARTS = ("backbone", "encoder", "decoder", "head")
FEW = 0.1  # share of the weights below which a file is taken for one of another network
Paths = str | Path | Sequence[str | Path]


@dataclass
class LoadReport:
    """What became of every weight of the files and of the network.

    Attributes:
        files: Name and SHA-256 of each file.
        used: Our weights that were loaded → the published name they come from.
        resized: Of these, the ones whose shape was changed → from what to what.
        left: Our weights that keep their initial values → why.
        unused: Published weights that have no place here, or whose place another file filled.
    """

    files: list[dict[str, str]] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "files": self.files,
            "used": self.used,
            "resized": self.resized,
            "left": self.left,
            "unused": self.unused,
        }

    def provenance(self) -> dict[str, Any]:
        """The files and how many weights were used, resized, left and unused."""
        counts = {name: len(getattr(self, name)) for name in ("used", "resized", "left", "unused")}
        return {"files": self.files, **counts}


@dataclass(frozen=True)
class _Offer:
    """What one file has for the network.

    Attributes:
        file: The file.
        fits: Our name → what becomes of the weight that claims it.
        published: Our name → the published name of that weight.
        loose: Published names that have no place here.
    """

    file: WeightFile
    fits: Mapping[str, Fit]
    published: Mapping[str, str]
    loose: Sequence[str]

    def of_part(self, part: str) -> dict[str, Fit]:
        """The fits within one part of the network."""
        return {name: one for name, one in self.fits.items() if _part(name) == part}


def load_pretrained(network: nn.Module, path: Paths) -> LoadReport:
    """Load published weights into ``network``, in place.

    The format is recognised by content. Position embeddings of another grid, class tokens and the
    channels of the image are adapted; a head of another number of classes and a patch convolution
    of another patch size keep their initial values, which the report says. Of several files, each
    part of the network (``backbone``, ``encoder``, ``decoder``, ``head``) comes from the first
    file that has it in the right sizes.

    Args:
        network: Any network; in it, ``backbone`` is a ResNet and ``encoder`` a ViT.
        path: One file, model folder or run folder, or several.

    Raises:
        ModelError: If a file is missing, damaged or brings code, if almost nothing of it fits, or
            if a weight claims a place of another shape. The network is then unchanged.
    """
    state = network.state_dict()
    offers = [_offer(network, state, read_weights(one)) for one in as_paths(path)]
    report = LoadReport([{"name": o.file.path.name, "sha256": o.file.sha256} for o in offers])
    loaded: dict[str, torch.Tensor] = {}
    unused = [list(offer.loose) for offer in offers]
    for part in dict.fromkeys(map(_part, state)):
        chosen = _choose(part, offers)
        for offer, others in zip(offers, unused, strict=True):
            if offer is chosen:
                loaded |= _take(offer, part, state, report)
            else:
                others += [offer.published[name] for name in offer.of_part(part)]
    for name in state:
        if name not in loaded:
            report.left.setdefault(name, "not in the file" if len(offers) == 1 else "in no file")
    for offer, names in zip(offers, unused, strict=True):
        prefix = f"{offer.file.path.name}: " if len(offers) > 1 else ""
        report.unused += [prefix + name for name in names]
    network.load_state_dict(loaded, strict=False)
    return report


def as_paths(path: Paths | None) -> list[Path]:
    """One path or several as a list; each must be there.

    Raises:
        ModelError: If a file is missing.
    """
    paths = [path] if isinstance(path, (str, Path)) else list(path or ())
    for one in paths:
        find_weights(one)
    return [Path(one) for one in paths]


def _part(name: str) -> str:
    first = name.split(".", 1)[0]
    return first if first in PARTS else ""


def _offer(network: nn.Module, state: Mapping[str, torch.Tensor], file: WeightFile) -> _Offer:
    """Find the place of every weight of a file, and fit it there."""
    renamed = rename(file.tensors)
    places = place(renamed, state)
    _refuse_another_network(file, renamed, places, state)
    tokens = {name.rpartition(".")[2] for name in renamed}
    patches = [one.ndim - 2 for name, (one, _) in renamed.items() if name.endswith(PATCH_WEIGHT)]
    source = Source(
        [token for token in EXTRA_TOKENS if token in tokens],
        file.image_size,
        axes=patches[0] if patches else 0,
    )
    fits = {
        ours: fit(network, ours, renamed[name][0], wanted=state[ours], source=source)
        for name, ours in places.items()
    }
    for ours, one in list(fits.items()):  # the bias of a patch convolution goes with its weight
        bias = ours.removesuffix(PATCH_WEIGHT) + PATCH_BIAS
        left = one.tensor is None and not one.refused
        if ours.endswith(PATCH_WEIGHT) and left and bias in fits:
            fits[bias] = one
    return _Offer(
        file,
        _leave_heads(fits, {ours: renamed[name][0] for name, ours in places.items()}, state),
        {ours: renamed[name][1] for name, ours in places.items()},
        [published for name, (_, published) in renamed.items() if name not in places],
    )


def _leave_heads(
    fits: Mapping[str, Fit],
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
) -> dict[str, Fit]:
    """Leave, part by part, what differs only in the number of classes.

    In the middle of a network a width shows in the inputs of the next layer as well, so that only
    the last layers can differ in nothing but their outputs.
    """
    settled = dict(fits)
    for part in dict.fromkeys(map(_part, fits)):
        refused = [name for name in fits if _part(name) == part and fits[name].refused]
        counts = {
            differs_by_classes(state[name].shape, tensors[name].shape, name) for name in refused
        }
        if len(counts) == 1 and (0, 0) not in counts:
            here, there = counts.pop()
            note = f"a head of {there} classes there, of {here} here"
            settled.update({name: Fit(None, note) for name in refused})
    return settled


def _choose(part: str, offers: Sequence[_Offer]) -> _Offer | None:
    """The first file whose weights all fit into ``part``; none if no file has any for it."""
    having = [offer for offer in offers if offer.of_part(part)]
    for offer in having:
        if not any(one.refused for one in offer.of_part(part).values()):
            return offer
    if not having:
        return None
    fits = having[0].of_part(part)
    refused = [f"{having[0].published[n]} → {n}: {f.note}" for n, f in fits.items() if f.refused]
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    raise ModelError(f"{having[0].file.path}: {'; '.join(refused[:3])}{more}")


def _take(
    offer: _Offer, part: str, state: Mapping[str, torch.Tensor], report: LoadReport
) -> dict[str, torch.Tensor]:
    """Write down what becomes of each weight of a part, and return those to load."""
    loaded = {}
    for name, one in offer.of_part(part).items():
        if one.tensor is None:
            report.left[name] = one.note
            continue
        loaded[name] = one.tensor.to(state[name].dtype)
        report.used[name] = offer.published[name]
        if one.note:
            report.resized[name] = one.note
    return loaded


def _refuse_another_network(
    file: WeightFile,
    renamed: Mapping[str, tuple[torch.Tensor, str]],
    places: Mapping[str, str],
    state: Mapping[str, torch.Tensor],
) -> None:
    if places and len(places) >= FEW * min(len(renamed), len(state)):
        return
    lost = next(name for name in renamed if name not in places)
    near = difflib.get_close_matches(lost, list(state), n=3, cutoff=0.0)
    raise ModelError(
        f"{file.path}: {len(places)} of its {len(renamed)} weights have a place in this network "
        f"of {len(state)}, too few to be for it; {renamed[lost][1]} has none, the nearest names "
        f"here are {', '.join(near)}"
    )
