"""What is installed and what is shipped, without importing anything heavy."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import medseg
from medseg.shipped import shipped

PACKAGES = (
    "torch", "monai", "pytorch-ignite", "numpy", "scipy", "nibabel", "SimpleITK",
    "opencv-python-headless", "safetensors", "h5py",
)  # fmt: skip


def info(model: str | Path | None = None, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Versions of medseg, Python and the packages it stands on, and what is shipped.

    Packages that are not installed are given as ``None``. With ``model``, what the network of a
    config or model folder costs instead: see :func:`medseg.costs.network_costs`.
    """
    if model is not None:
        from medseg.costs import network_costs

        return network_costs(model, overrides)
    return {
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "configs": {name: str(path) for name, path in shipped("configs").items()},
        "pipelines": {name: str(path) for name, path in shipped("pipelines").items()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
