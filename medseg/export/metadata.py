"""``configs/metadata.json`` of a bundle: what the model is, takes, gives and was measured at."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import medseg
from medseg.export.chain import Config, needs_medseg
from medseg.loading.geometry import PatchGeometry, SliceGeometry
from medseg.model import LoadedModel

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
INTENDED_USE = "Research only; not a medical device, and not for decisions about patients."


def metadata_of(
    model: LoadedModel, configs: Sequence[Config], *, channels: int, about: Mapping[str, Any]
) -> Config:
    """The whole of ``metadata.json``.

    Args:
        model: What is exported.
        configs: The bundle's other configs, which say whether medseg is needed.
        channels: Of the network's output.
        about: Overrides of the fields for people: ``name``, ``task``, ``description``,
            ``authors``, ``copyright``, ``data_source``, ``data_type``, ``version``,
            ``changelog``, ``eval_metrics``, ``intended_use``, ``references``.
    """
    spec, organs = model.spec, list(model.spec.labels)
    needed = {"nibabel": version("nibabel"), "pytorch-ignite": version("pytorch-ignite")}
    if needs_medseg(list(configs)):
        needed["medseg"] = medseg.__version__
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported from a medseg model folder"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": needed,
        "supported_apps": {},
        "name": _class_of(spec.network),
        "task": f"Segmentation of {', '.join(organs)}",
        "description": f"{_class_of(spec.network)} for {', '.join(organs)}, trained with medseg",
        "authors": "not stated",
        "copyright": "not stated",
        "data_source": "not stated; see docs/data_license.txt",
        "data_type": "nibabel",
        "image_classes": _channels_said(spec.geometry),
        "label_classes": "single channel, " + _values(spec.labels),
        "pred_classes": f"{channels} channels of logits, " + ", ".join(["background", *organs]),
        "intended_use": INTENDED_USE,
        "references": [],
        "network_data_format": _data_format(model, channels),
        **about,
    }


def _data_format(model: LoadedModel, channels: int) -> Config:
    geometry, organs = model.spec.geometry, list(model.spec.labels)
    shape = list(geometry.input_shape[1:])
    masks = channels == 1
    names = organs if masks else ["background", *organs]
    return {
        "inputs": {"image": {
            "type": "image",
            "format": "hounsfield" if model.spec.preprocessing.window else "magnitude",
            "modality": "CT" if model.spec.preprocessing.window else "MR",
            "num_channels": geometry.channels,
            "spatial_shape": shape,
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": not isinstance(geometry, SliceGeometry),
            "channel_def": {str(index): name for index, name in enumerate(_seen(geometry))},
        }},
        "outputs": {"pred": {
            "type": "image",
            "format": "segmentation",
            "num_channels": channels,
            "spatial_shape": shape,
            "dtype": "float32",
            "value_range": [],
            "is_patch_data": not isinstance(geometry, SliceGeometry),
            "channel_def": {str(index): name for index, name in enumerate(names)},
        }},
    }  # fmt: skip


def _channels_said(geometry: SliceGeometry | PatchGeometry) -> str:
    seen = _seen(geometry)
    if len(seen) == 1:
        return "single channel, scaled to [0, 1]"
    return f"{len(seen)} neighbouring slices as channels, scaled to [0, 1]"


def _seen(geometry: SliceGeometry | PatchGeometry) -> list[str]:
    """What the channels of the input are."""
    if geometry.channels == 1:
        return ["image"]
    middle = geometry.channels // 2
    names = (f"slice {index - middle:+d}" for index in range(geometry.channels))
    return ["slice" if name == "slice +0" else name for name in names]


def _class_of(network: Mapping[str, Any]) -> str:
    return str(network["_target_"]).rpartition(".")[2]


def _values(labels: Mapping[str, int]) -> str:
    return ", ".join(["0 background", *(f"{value} {organ}" for organ, value in labels.items())])
