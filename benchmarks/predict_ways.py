"""Ways to predict one volume, each run in a process of its own by ``benchmarks.predict``."""

import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.native import resample_logits, same_grid, turn_to_native
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.inference.slices import logits_of_slices
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing, prepare_image
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Header, Volume, read_volume, write_label_map

WINDOW = (-125.0, 275.0)
Spacing = tuple[float | None, float | None, float | None]


def small_model(classes: int, size: int, spacing: Spacing | None) -> LoadedModel:
    """Three convolutions with random weights: what is measured is all around them."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, classes, 1),
    )  # fmt: skip
    spec = ModelSpec(
        network={"_target_": "torch.nn.Sequential"},
        labels={f"organ {index}": index for index in range(1, classes)},
        preprocessing=Preprocessing(window=WINDOW, spacing=spacing),
        geometry=SliceGeometry((size, size), zoom=None if spacing else 1.0),
    )
    return LoadedModel(spec, network.eval(), {})


def write_input(path: Path, depth: int, spacing: Spacing | None) -> None:
    """Smooth int16 noise of 512 × 512 × depth, its network labels in patches."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.normal(0, 250, (1, 1, 32, 32, max(depth // 8, 4))))
    array = np.empty((512, 512, depth), dtype=np.int16, order="F")
    whole = torch.nn.functional.interpolate(coarse[0, 0].permute(2, 0, 1)[:, None], (512, 512))
    for index in range(depth):
        place = index / max(depth - 1, 1) * (len(whole) - 1)
        low = min(int(place), len(whole) - 2)
        mixed = whole[low] * (1 - place + low) + whole[low + 1] * (place - low)
        array[:, :, index] = mixed[0].numpy() + random.normal(0, 20, (512, 512))
    lengths = (0.8, 0.8, 1.0) if spacing else (0.75, 0.75, 1.5)
    nib.save(nib.Nifti1Image(array, np.diag([*lengths, 1.0])), path)


def ours(path: Path, model: LoadedModel, most_gb: float | None) -> Callable[[], Volume]:
    """Slices made on demand, a slab of scores, labels at once."""
    settings = PredictSettings(device="cpu", precision="float32", max_memory_gb=most_gb)
    predictor = Predictor(model, settings)
    return lambda: predictor(read_volume(path))


def slices_of(model: LoadedModel) -> SliceGeometry:
    """How the model sees slices.

    Raises:
        UsageError: If it sees patches.
    """
    if not isinstance(model.spec.geometry, SliceGeometry):
        raise UsageError("expected a model of slices, got one of patches")
    return model.spec.geometry


def whole(path: Path, model: LoadedModel) -> Callable[[], Volume]:
    """The logits of all slices, then the native grid and the labels at once."""

    def work() -> Volume:
        volume = read_volume(path)
        native = Header(volume.array.shape, volume.affine, volume.array.dtype)
        prepared = prepare_image(volume, model.spec.preprocessing)
        images = np.ascontiguousarray(prepared.array.transpose(2, 0, 1))
        parts = logits_of_slices(model.network, images, slices_of(model))
        if same_grid(prepared.affine, prepared.array.shape, native):
            logits = torch.cat([part for _, part in parts])
            labels = logits.max(dim=1).indices.to(torch.uint8).numpy()
            return Volume(turn_to_native(labels.transpose(1, 2, 0), native), volume.affine)
        halves = np.concatenate([part.half().numpy() for _, part in parts])
        classes = resample_logits(halves.transpose(1, 2, 3, 0), prepared.affine, native)
        return Volume(classes, volume.affine)

    return work


def monai(path: Path, model: LoadedModel) -> Callable[[], Volume]:
    """MONAI's sliding window over the slices, which returns the logits of the whole volume."""
    from monai.inferers import SliceInferer
    from monai.transforms import ScaleIntensityRange

    size = slices_of(model).image_size
    inferer = SliceInferer(roi_size=size, spatial_dim=2, sw_batch_size=16, overlap=0.25)

    def work() -> Volume:
        image = nib.load(path)
        array = np.asarray(image.dataobj, dtype=np.float32)
        array = ScaleIntensityRange(*WINDOW, 0.0, 1.0, clip=True)(array)
        with torch.inference_mode():
            logits = inferer(torch.as_tensor(array)[None, None], model.network)
            labels = logits.argmax(dim=1)[0].to(torch.uint8).numpy()
        return Volume(labels, image.affine)

    return work


def run_way(
    way: str, path: Path, output: Path, model: LoadedModel, most_gb: float | None
) -> dict[str, float]:
    """Predict and write; seconds of both, the most memory of the process, and at its start."""
    ready = {
        "medseg": lambda: ours(path, model, most_gb),
        "whole": lambda: whole(path, model),
        "monai": lambda: monai(path, model),
    }[way]()
    before = memory("VmRSS")
    start = time.perf_counter()
    found = ready()
    predicted = time.perf_counter() - start
    write_label_map(output, found)
    return {"seconds": predicted, "peak_gb": memory("VmHWM"), "start_gb": before}


def memory(name: str) -> float:
    """A line of this process's status in GB: ``VmRSS`` for now, ``VmHWM`` for the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e9
