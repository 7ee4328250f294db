"""A model's way from image to label map, said in MONAI's transforms.

The chain gives the labels that :class:`medseg.inference.predictor.Predictor` gives. What MONAI
cannot say (percentiles of the nonzero voxels, slices at a fixed zoom, clearing up by organ) is
said by a transform of :mod:`medseg.inference.bundle_transforms`; a bundle that names one needs
medseg to run.
"""

from typing import Any

from medseg.errors import UsageError
from medseg.inference.card import InferenceCard
from medseg.loading.geometry import PatchGeometry, SliceGeometry
from medseg.model import ModelSpec

Config = dict[str, Any]
OURS = "medseg.inference.bundle_transforms."
RAS_LABELS = [["L", "R"], ["P", "A"], ["I", "S"]]


def check_exportable(spec: ModelSpec) -> None:
    """Refuse what no chain of transforms can say.

    Raises:
        UsageError: For models of exposures.
    """
    if spec.preprocessing.sky is not None:
        raise UsageError("export: expected a model of volumes, got one of exposures")


def loading(key: str = "image") -> list[Config]:
    """Read a NIfTI file as (1, X, Y, Z)."""
    return [
        {"_target_": "LoadImaged", "keys": key},
        {"_target_": "EnsureChannelFirstd", "keys": key},
    ]


def intensities(spec: ModelSpec) -> Config:
    """Scale to [0, 1], as :func:`medseg.loading.preprocessing.prepare_image` does."""
    if spec.preprocessing.window is not None:
        low, high = spec.preprocessing.window
        return {
            "_target_": "ScaleIntensityRanged", "keys": "image", "a_min": low, "a_max": high,
            "b_min": 0.0, "b_max": 1.0, "clip": True,
        }  # fmt: skip
    low, high = spec.preprocessing.percentiles or (0.0, 100.0)
    return {"_target_": f"{OURS}ScaleByPercentilesd", "keys": "image", "percentiles": [low, high]}


def onto_grid(spec: ModelSpec, keys: list[str]) -> list[Config]:
    """Turn to RAS, resample to the model's spacing and fit slices into the network's input."""
    modes = ["bilinear" if key == "image" else "nearest" for key in keys]
    chain: list[Config] = [
        {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS", "labels": RAS_LABELS}
    ]
    if spec.preprocessing.spacing is not None:
        chain.append({
            "_target_": "Spacingd", "keys": keys, "mode": modes, "padding_mode": "border",
            "pixdim": [length or "$float('nan')" for length in spec.preprocessing.spacing],
            "dtype": "$np.float32",
        })  # fmt: skip
    if isinstance(spec.geometry, PatchGeometry):
        size = list(spec.geometry.patch_size)
        return [
            *chain,
            {"_target_": "SpatialPadd", "keys": keys, "spatial_size": size, "method": "end"},
        ]
    return [*chain, *_slices(spec.geometry, keys, modes)]


def _slices(geometry: SliceGeometry, keys: list[str], modes: list[str]) -> list[Config]:
    size = [*geometry.image_size, -1]
    fit: Config = {"_target_": "Resized", "keys": keys, "spatial_size": size}
    if geometry.zoom is None:
        fit["mode"] = ["trilinear" if mode == "bilinear" else "nearest-exact" for mode in modes]
    else:
        fit = {"_target_": f"{OURS}FitSlicesd", "keys": keys, "mode": modes}
        fit = {**fit, "image_size": size[:2], "zoom": geometry.zoom}
    if not geometry.neighbours:
        return [fit]
    stack = {"_target_": f"{OURS}StackSlicesd", "keys": "image", "neighbours": geometry.neighbours}
    return [fit, stack]


def inferer(spec: ModelSpec) -> Config:
    """How MONAI runs the network over a prepared volume."""
    if isinstance(spec.geometry, SliceGeometry):
        return {
            "_target_": "SliceInferer", "roi_size": list(spec.geometry.image_size),
            "sw_batch_size": 4, "spatial_dim": 2, "overlap": 0.0,
        }  # fmt: skip
    return {
        "_target_": "SlidingWindowInferer", "roi_size": list(spec.geometry.patch_size),
        "sw_batch_size": 1, "overlap": spec.geometry.overlap, "mode": "gaussian",
    }  # fmt: skip


def back_to_labels(spec: ModelSpec, channels: int) -> list[Config]:
    """Logits to a label map on the file's own grid, cleared up as the model's card says."""
    found = {"threshold": 0.0} if channels == 1 else {"argmax": True}
    chain: list[Config] = [
        {
            "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
            "orig_keys": "image", "nearest_interp": False, "to_tensor": True,
        },
        {"_target_": "AsDiscreted", "keys": "pred", **found},
    ]  # fmt: skip
    values = list(spec.labels.values())
    if values != list(range(1, len(values) + 1)):
        chain.append(map_values("pred", list(range(1, len(values) + 1)), values))
    steps = InferenceCard.read(spec).postprocessing
    if steps:
        plain = {organ: step.to_plain() for organ, step in steps.items()}
        labels = dict(spec.labels)
        clear = {"_target_": f"{OURS}Postprocessd", "keys": "pred", "steps": plain}
        chain.append({**clear, "labels": labels})
    return chain


def map_values(key: str, old: list[int], new: list[int]) -> Config:
    """Other numbers for the classes of a label map."""
    return {
        "_target_": "MapLabelValued", "keys": key, "orig_labels": old, "target_labels": new,
        "dtype": "$np.uint8" if max(new) < 256 else "$np.uint16",
    }  # fmt: skip


def to_classes(spec: ModelSpec, key: str) -> Config:
    """The values of label maps as class indices; organs that the model does not know are 0."""
    classes = {value: index for index, value in enumerate(spec.labels.values(), start=1)}
    values = list(range(1, max(255, *classes) + 1))
    return map_values(key, values, [classes.get(value, 0) for value in values])


def needs_medseg(config: Any) -> bool:
    """Whether a config names anything of this package."""
    if isinstance(config, dict):
        return any(needs_medseg(value) for value in config.values())
    if isinstance(config, (list, tuple)):
        return any(needs_medseg(value) for value in config)
    return isinstance(config, str) and config.startswith("medseg.")
