"""Bundles that are trusted by their user: run by MONAI itself, in a process of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from medseg.bundles.config import read_config
from medseg.bundles.run import label_map
from medseg.bundles.zoo import labels_as_written
from medseg.errors import ModelError
from medseg.files import write_json
from medseg.volumes import Volume, read_volume, write_volume

IMAGE = "image"


class TrustedRunner:
    """A bundle of others that may run whatever it brings, with all rights of the user.

    Args:
        folder: The bundle.

    Attributes:
        labels: Organ → value in the label maps.
        network_name: What the config says the network is.

    Raises:
        ModelError: If the bundle is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_config(folder)
        self.labels = labels_as_written(folder)
        self.network_name = network_name_of(folder)

    def __call__(self, volume: Volume) -> Volume:
        """Label map of a volume on its own grid, by ``python -m monai.bundle run``.

        Raises:
            ModelError: If the bundle ends with an error or does not write one label map.
        """
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            image, output = place / "images" / f"{IMAGE}.nii.gz", place / "output"
            write_volume(image, volume)
            self._run(image, output)
            found = sorted(output.rglob("*.nii*"))
            if len(found) != 1:
                raise ModelError(
                    f"{self.folder}: expected one label map in its output_dir, got {len(found)}"
                )
            label = read_volume(found[0])
        array = torch.from_numpy(label.array.astype("float32"))[None]
        tensor = MetaTensor(array, affine=torch.as_tensor(label.affine))
        return label_map(self.folder, tensor, volume, list(self.labels.values()))

    def _run(self, image: Path, output: Path) -> None:
        content = self.config.content
        if "dataset" not in content:
            raise ModelError(f"{self.config.path}: expected an entry dataset, to put the image in")
        key = content.get("image_key", IMAGE)
        arguments = {
            "config_file": str(self.config.path.resolve()),
            "bundle_root": str(self.folder.resolve()),
            "dataset#data": [{str(key): str(image)}],
            "output_dir": str(output),
        }
        write_json(image.parent / "arguments.json", arguments)
        command = ["-m", "monai.bundle", "run", "--args_file", str(image.parent / "arguments.json")]
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"}, errors="replace",
        )  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [""]
            said = " ".join(lines[-1].split())[:300]
            raise ModelError(f"{self.folder}: expected the bundle to run, got: {said}")


def network_name_of(folder: Path) -> str:
    """What a bundle's config says its network is.

    Raises:
        ModelError: If there is no config, or it is damaged.
    """
    content: dict[str, Any] = read_config(folder).content
    network = content.get("network_def", content.get("network"))
    target = network.get("_target_") if isinstance(network, dict) else None
    if not isinstance(target, str):
        return "unknown"
    return target if "." in target else f"monai.networks.nets.{target}"
