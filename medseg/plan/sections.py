"""The sections of a config, put together from a fingerprint's numbers, each with its reason."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.datasets.fingerprint import Fingerprint
from medseg.plan.said import Said
from medseg.plan.shapes import Grid, choose_epochs
from medseg.plan.source import DataSource

ABDOMEN = {
    "spleen", "kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas", "oesophagus",
    "esophagus", "duodenum", "adrenal",
}  # fmt: skip
ABDOMINAL_HU = (-125, 275)  # TransUNet's window, see docs
ROUND_HU = 5


@dataclass(frozen=True)
class Input:
    """What the network sees.

    Attributes:
        size: Sides of a patch, or of the image that a slice becomes.
        why: Of the size.
        batch: Patches or slices in a batch.
        zoom: Pixels of the image per pixel of the slice; None for patches.
    """

    size: tuple[int, ...]
    why: str
    batch: Said
    zoom: Said | None = None

    @property
    def channels(self) -> int:
        """Of the network's input: slices are given with their two neighbours."""
        return 1 if self.zoom is None else 3


def content_of(
    source: DataSource, found: Fingerprint, grid: Grid, seen: Input, network: Mapping[str, Any],
    *, name: str, device: str, draws: int,
) -> dict[str, Any]:  # fmt: skip
    """The whole config, values with reasons as :class:`medseg.plan.said.Said`."""
    flat = seen.zoom is not None
    per_epoch, epochs = choose_epochs(found.num_cases, draws, seen.batch.value)
    size = {"image_size": Said(list(seen.size), seen.why)} if flat else {}
    return {
        "seed": 0,
        "data": str(source.root),
        "out_dir": f"runs/{source.root.resolve().name}_{name}",
        **size,
        "labels": dict(source.labels),
        "cases": dict(source.sections),
        "preprocessing": _preprocessing(source, found, grid, flat),
        "geometry": _geometry(seen),
        "network": network,
        **_optimising(),
        "train_loader": _loader(source, found, seen, per_epoch),
        "validation": _validation(seen) if "val" in source.sections else None,
        "settings": {
            "_target_": "medseg.training.settings.TrainSettings",
            "max_epochs": epochs,
            "precision": "auto",
            "clip_norm": 1.0,
            "ema_decay": _ema(per_epoch.value * epochs.value),
            "validate_every": max(1, epochs.value // 8),
            "seed": "@seed",
            "device": device,
        },
    }


def _ema(steps: int) -> Said:
    """How slowly the averaged weights follow: over a small part of the run."""
    decay = 0.99 if steps < 1000 else 0.995 if steps < 5000 else 0.999
    return Said(decay, f"averages over about {round(1 / (1 - decay))} of {steps} iterations")


def _optimising() -> dict[str, Any]:
    return {
        "loss": {"_target_": "medseg.losses.BCEDiceLoss", "bce_weight": 0.5, "dice_weight": 0.5},
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "params": "$@network.parameters()",
            "lr": 1.0e-3,
            "weight_decay": 1.0e-4,
        },
        "schedule": {"_target_": "medseg.training.schedules.Cosine", "warmup": 0.05},
    }


def _loader(
    source: DataSource, found: Fingerprint, seen: Input, per_epoch: Said
) -> Mapping[str, Any]:
    loader = "patches.patch_train_loader" if seen.zoom is None else "loaders.train_loader"
    return {
        "_target_": f"medseg.loading.{loader}",
        "cases": "@cases::train",
        "labels": "@labels",
        "preprocessing": "@preprocessing",
        "geometry": "@geometry",
        "batch_size": seen.batch,
        "batches_per_epoch": per_epoch,
        "foreground": _foreground(found),
        "augment": {"flip_axes": _flips(source.labels, found.modality)},
        "seed": "@seed",
        "workers": 0,
    }


def _preprocessing(
    source: DataSource, found: Fingerprint, grid: Grid, flat: bool
) -> Mapping[str, Any]:
    spacing = grid.spacing
    if flat:
        why = f"{spacing.why}; slices stay as far apart as they are"
        spacing = Said([*spacing.value[:2], None], why)
    return {
        "_target_": "medseg.loading.preprocessing.Preprocessing",
        "spacing": spacing,
        **_intensities(found, list(source.labels)),
    }


def _intensities(found: Fingerprint, organs: Sequence[str]) -> dict[str, Said]:
    if found.modality != "CT":
        why = "of each volume, since the scale of the intensities is its own"
        return {"percentiles": Said([0.5, 99.5], why)}
    abdominal = organs and all(_words(organ) & ABDOMEN for organ in organs)
    if abdominal or not found.intensities:
        return {"window": Said(list(ABDOMINAL_HU), "HU, the usual window for abdominal organs")}
    low, high = found.intensities["0.5"], found.intensities["99.5"]
    window = [int(low // ROUND_HU) * ROUND_HU, -int(-high // ROUND_HU) * ROUND_HU]
    why = f"HU, 0.5th to 99.5th percentile within the organs of {found.cases_read} cases"
    return {"window": Said(window, why)}


def _geometry(seen: Input) -> Mapping[str, Any]:
    if seen.zoom is None:
        return {
            "_target_": "medseg.loading.geometry.PatchGeometry",
            "patch_size": Said(list(seen.size), seen.why),
            "overlap": 0.5,
        }
    return {
        "_target_": "medseg.loading.geometry.SliceGeometry",
        "image_size": "@image_size",
        "zoom": seen.zoom,
        "neighbours": 1,
    }


def _foreground(found: Fingerprint) -> Said:
    """How much of a batch is drawn around organs: more where they fill little of the volume."""
    share = sum(organ.share for organ in found.organs.values())
    if share > 0.03:
        return Said(0.33, f"organs fill {share:.1%} of the median volume")
    return Said(0.5, f"organs fill only {share:.2%} of the median volume")


def _flips(labels: Mapping[str, int], modality: str) -> Said:
    sided = [organ for organ in labels if _words(organ) & {"left", "right", "l", "r"}]
    if sided:
        return Said([], f"{sided[0]} has a side")
    if modality == "CT":
        return Said([], "a body is not symmetric")
    return Said([0], "left and right may be swapped: no organ's name has a side")


def _validation(seen: Input) -> Mapping[str, Any]:
    return {
        "_target_": "medseg.training.validation.Validation",
        "cases": {
            "_target_": "medseg.loading.store.open_store",
            "cases": "@cases::val",
            "preprocessing": "@preprocessing",
            "labels": "@labels",
        },
        "labels": "@labels",
        "geometry": "@geometry",
        "batch_size": 1 if seen.zoom is None else seen.batch.value,
    }


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))
