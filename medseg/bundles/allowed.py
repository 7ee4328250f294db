"""What a bundle may name; ``docs/bundles.md`` lists the same, and a test keeps the two equal."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

NETWORKS = ("monai.networks.nets.", "medseg.networks.", "torch.nn.")

TRANSFORMS = (
    "Compose", "LoadImaged", "SaveImaged", "EnsureChannelFirstd", "EnsureTyped", "CastToTyped",
    "ToTensord", "SqueezeDimd", "Orientationd", "Spacingd", "Resized", "ResizeWithPadOrCropd",
    "SpatialPadd", "BorderPadd", "DivisiblePadd", "CenterSpatialCropd", "CropForegroundd",
    "ScaleIntensityd", "ScaleIntensityRanged", "ScaleIntensityRangePercentilesd",
    "NormalizeIntensityd", "ThresholdIntensityd", "Invertd", "Activationsd", "AsDiscreted",
    "KeepLargestConnectedComponentd", "RemoveSmallObjectsd", "FillHolesd", "LabelFilterd",
    "MapLabelValued",
)  # fmt: skip

INFERERS = ("SlidingWindowInferer", "SliceInferer", "SimpleInferer")

DTYPES: Mapping[str, Any] = {
    **{f"torch.{name}": getattr(torch, name) for name in (
        "float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool",
        "float", "long", "int",
    )},
    **{f"{module}.{name}": getattr(np, name) for module in ("np", "numpy") for name in (
        "float16", "float32", "float64", "uint8", "uint16", "int8", "int16", "int32", "int64",
    )},
}  # fmt: skip
"""Names that stand for a type of number."""

LONGEST = 1000  # of a list, or in characters of an expression


def _range(*bounds: int) -> list[int]:
    found = range(*bounds)
    if len(found) > LONGEST:
        raise ValueError(f"a range of more than {LONGEST}")
    return list(found)


CALLS: Mapping[str, Callable[..., Any]] = {
    "torch.device": str,  # where things run is said by the settings of a prediction
    "torch.cuda.is_available": torch.cuda.is_available,
    "float": float, "int": int, "str": str, "bool": bool, "abs": abs, "round": round,
    "len": len, "list": list, "tuple": tuple, "range": _range, "min": min, "max": max, "sum": sum,
}  # fmt: skip
"""What expressions that are evaluated may call."""

ASIDE_MODULES = (
    "glob", "json", "math", "monai", "numpy", "np", "os", "pathlib", "sys", "torch", "ignite", "re",
)  # fmt: skip
"""Modules that expressions which never run may import."""

ASIDE_CALLS = (
    *CALLS, "glob.glob", "os.path.join", "os.path.basename", "os.path.dirname", "os.path.exists",
    "os.makedirs", "os.listdir", "sorted", "zip", "enumerate", "dict", "set", "map", "filter",
    "isinstance", "print", "pathlib.Path",
    "monai.data.load_decathlon_datalist", "monai.data.partition_dataset",
    "monai.utils.set_determinism", "monai.handlers.from_engine", "monai.data.decollate_batch",
    "torch.inference_mode", "torch.no_grad", "torch.manual_seed", "setattr",
)  # fmt: skip
"""What expressions that never run may call; anything else makes a bundle suspect."""

ASIDE_METHODS = (
    "run", "to", "eval", "train", "parameters", "items", "keys", "values", "format", "split",
    "replace", "startswith", "endswith", "strip", "join", "glob", "state_dict", "append", "get",
)  # fmt: skip
"""Methods that expressions which never run may call."""

ASIDE_TARGETS = ("monai.", "ignite.", "torch.nn.", "torch.optim.", "torch.utils.data.")
"""Where components that are never built may come from; bare names are MONAI's."""
