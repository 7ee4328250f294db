"""Predict label maps with an exported network; needs NumPy, SciPy, nibabel and its engine.

    python run.py IMAGE [IMAGE ...] -o FOLDER

Stands in every export beside ``pipeline.json`` and the network: ``model.onnx`` (run by
onnxruntime), ``model.pt2`` or ``model.ts`` (run by torch). Images are NIfTI; label maps get the
image's grid. The steps are those of the model this was exported from: turn to RAS, scale the
intensities, resample, run slices or overlapping patches, go back, clear up.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from scipy.ndimage import binary_fill_holes, generate_binary_structure, label

Network = Callable[[np.ndarray], np.ndarray]
RAS = np.array([[0, 1], [1, 1], [2, 1]])
SAME_SPACING = 1e-4  # relative; below it nothing is resampled
BATCH = 8


def load_network(folder: Path) -> Network:
    """The network as a function from (B, channels, *spatial) to logits (B, C, *spatial)."""
    if (folder / "model.onnx").is_file():
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        name = session.get_inputs()[0].name
        return lambda batch: np.asarray(session.run(None, {name: batch})[0])
    import torch

    if (folder / "model.pt2").is_file():
        network: Any = torch.export.load(folder / "model.pt2").module()
    else:
        network = torch.jit.load(str(folder / "model.ts"), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(batch)).numpy())

    return run


def predict(array: np.ndarray, affine: np.ndarray, pipeline: Any, network: Network) -> np.ndarray:
    """Label map of one volume on its own grid.

    Args:
        array: The file's voxels, three axes.
        affine: Voxel to RAS millimetres.
        pipeline: The content of ``pipeline.json``.
        network: From :func:`load_network`.
    """
    orientation = io_orientation(affine)
    turned = apply_orientation(array.astype(np.float32), orientation)
    own = np.linalg.norm((affine @ inv_ornt_aff(orientation, array.shape))[:3, :3], axis=0)
    image = scale(turned, pipeline["preprocessing"])
    step, shape = prepared_grid(own, turned.shape, pipeline["preprocessing"]["spacing"])
    image = resample(image, [np.arange(n) * s for n, s in zip(shape, step, strict=True)])
    run = run_patches if "patches" in pipeline else run_slices
    logits = run(image, pipeline, network)
    back = [np.arange(n) / s for n, s in zip(turned.shape, step, strict=True)]
    classes = largest(resample(channel, back) for channel in logits)
    values = np.array([0, *pipeline["labels"].values()])
    values = values.astype(np.min_scalar_type(int(values.max())))
    labels = np.asarray(apply_orientation(values[classes], ornt_transform(RAS, orientation)))
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return clear_up(labels, pipeline, voxel_ml)


def scale(image: np.ndarray, preprocessing: Any) -> np.ndarray:
    """Intensities from a window, or from percentiles of the nonzero voxels, to [0, 1]."""
    if preprocessing["window"]:
        low, high = preprocessing["window"]
    else:
        voxels = image[image != 0]
        if not voxels.size:
            return np.zeros_like(image)
        low, high = (float(limit) for limit in np.percentile(voxels, preprocessing["percentiles"]))
    if low >= high:
        return np.zeros_like(image)
    raised = (image - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(raised, 0, 1), dtype=np.float32)


def prepared_grid(
    own: np.ndarray, shape: tuple[int, ...], spacing: Any
) -> tuple[np.ndarray, tuple[int, ...]]:
    """File voxels per voxel of the prepared volume, along each axis, and the latter's shape."""
    wanted = np.array([s or o for s, o in zip(spacing or own, own, strict=True)], dtype=float)
    if np.allclose(wanted, own, rtol=SAME_SPACING):
        return np.ones(3), tuple(shape)
    step = wanted / own
    return step, tuple(int(np.round((n - 1) / s + 1)) for n, s in zip(shape, step, strict=True))


def resample(image: np.ndarray, places: list[np.ndarray], *, outside: str = "edge") -> np.ndarray:
    """Linear interpolation at a place for each voxel along each of the last axes.

    Args:
        image: Any leading axes, then one for each entry of ``places``.
        places: Where the new voxels lie, in old voxels.
        outside: ``"edge"`` goes on with the outermost voxels, ``"zeros"`` with zeros.
    """
    for axis, asked in enumerate(places, start=image.ndim - len(places)):
        size = image.shape[axis]
        if len(asked) == size and np.allclose(asked, np.arange(size), atol=1e-6, rtol=0):
            continue
        near = np.rint(asked)
        wanted = np.where(abs(asked - near) < 1e-6, near, asked)
        if outside == "edge":
            wanted = np.clip(wanted, 0, size - 1)
        low = np.floor(wanted).astype(int)
        weight = (wanted - low).astype(np.float32)
        shape = [-1 if a == axis else 1 for a in range(image.ndim)]
        below, above = (_taken(image, index, axis) for index in (low, low + 1))
        mixed = below * (1 - weight).reshape(shape) + above * weight.reshape(shape)
        image = mixed.astype(np.float32)
    return image


def _taken(image: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    inside = (index >= 0) & (index < image.shape[axis])
    found = image.take(np.clip(index, 0, image.shape[axis] - 1), axis=axis)
    shape = [-1 if a == axis else 1 for a in range(image.ndim)]
    return np.asarray(found * inside.reshape(shape))


def run_slices(image: np.ndarray, pipeline: Any, network: Network) -> np.ndarray:
    """Logits (C, X, Y, Z) of a prepared volume, slice by slice."""
    size, zoom = pipeline["slices"]["image_size"], pipeline["slices"]["zoom"]
    source, target = np.array(image.shape[:2], dtype=float), np.array(size, dtype=float)
    step = source / target if zoom is None else np.full(2, 1 / min(zoom, *(target / source)))
    shift = (source - 1) / 2 - step * (target - 1) / 2
    shift = np.where(step == 1, np.floor(shift), shift)
    outside = "edge" if zoom is None else "zeros"
    to_input = [np.arange(n) * s + d for n, s, d in zip(size, step, shift, strict=True)]
    to_slice = [(np.arange(n) - d) / s for n, s, d in zip(image.shape, step, shift, strict=False)]
    logits = []
    depth, near = image.shape[2], pipeline["slices"]["neighbours"]
    reach = np.arange(-near, near + 1)  # neighbours as channels, the outermost repeated
    for start in range(0, depth, BATCH):
        indices = np.arange(start, min(start + BATCH, depth))[:, None] + reach
        planes = np.moveaxis(image[..., np.clip(indices, 0, depth - 1)], (2, 3), (0, 1))
        batch = np.ascontiguousarray(resample(planes, to_input, outside=outside))
        logits.append(resample(network(batch), to_slice))
    return np.moveaxis(np.concatenate(logits), 0, 3)


def run_patches(image: np.ndarray, pipeline: Any, network: Network) -> np.ndarray:
    """Logits (C, X, Y, Z) of a prepared volume, from overlapping patches with Gaussian weights."""
    size, overlap = pipeline["patches"]["patch_size"], pipeline["patches"]["overlap"]
    missing = [(0, max(0, s - n)) for s, n in zip(size, image.shape, strict=True)]
    padded = np.pad(image, missing)
    weights = gaussian(size)
    total = np.zeros(padded.shape, dtype=np.float32)
    logits = np.zeros((0,))
    for corner in corners(padded.shape, size, overlap):
        box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        found = network(np.ascontiguousarray(padded[box])[None, None])[0]
        if not logits.size:
            logits = np.zeros((len(found), *padded.shape), dtype=np.float32)
        logits[:, box[0], box[1], box[2]] += found * weights
        total[box] += weights
    x, y, z = image.shape
    return np.asarray((logits / total)[:, :x, :y, :z])


def corners(shape: tuple[int, ...], size: list[int], overlap: float) -> Iterator[tuple[int, ...]]:
    """First voxel of each patch; the last along an axis ends where the volume does."""
    starts = []
    for n, s in zip(shape, size, strict=True):
        step = s if n == s else max(1, int(s * (1 - overlap)))
        count = int(np.ceil((n - s) / step)) + 1
        starts.append([min(index * step, n - s) for index in range(count)])
    return itertools.product(*starts)


def gaussian(size: list[int]) -> np.ndarray:
    """Weights of a patch: a Gaussian of an eighth of each side, never below a thousandth."""
    weights = np.ones((1, 1, 1), dtype=np.float32)
    for axis, length in enumerate(size):
        distance = np.arange(length) - (length - 1) / 2
        along = np.exp(-(distance**2) / (2 * (0.125 * length) ** 2)).astype(np.float32)
        weights = weights * along.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(weights, max(float(weights.min()), 1e-3)).astype(np.float32)


def largest(channels: Iterator[np.ndarray]) -> np.ndarray:
    """Class of every voxel: the first of the largest logits; of one channel, whether above 0."""
    best, count = next(channels), 1
    classes = np.zeros(best.shape, dtype=np.int32)
    for count, channel in enumerate(channels, start=2):
        better = channel > best
        classes[better] = count - 1
        best = np.where(better, channel, best)
    return classes if count > 1 else (best > 0).astype(np.int32)


def clear_up(labels: np.ndarray, pipeline: Any, voxel_ml: float) -> np.ndarray:
    """Post-processing of each organ that the pipeline names."""
    for organ, step in pipeline.get("inference", {}).get("postprocessing", {}).items():
        value = pipeline["labels"][organ]
        mask = labels == value
        kept = _cleared(mask, step, voxel_ml)
        labels[mask & ~kept] = 0
        labels[kept & (labels == 0)] = value
    return labels


def _cleared(mask: np.ndarray, step: Any, voxel_ml: float) -> np.ndarray:
    if step.get("min_ml") or step.get("keep_largest"):
        pieces, count = label(mask, structure=generate_binary_structure(3, 3))
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        sizes[0] = 0
        kept = sizes > 0
        if step.get("min_ml"):
            kept &= sizes * voxel_ml >= step["min_ml"] * (1 - 1e-9)
        if step.get("keep_largest"):
            kept[np.argsort(-sizes, kind="stable")[step["keep_largest"] :]] = False
        mask = kept[pieces]
    return np.asarray(binary_fill_holes(mask)) if step.get("fill_holes") else mask


def main() -> int:
    """Predict the images of the command line."""
    parser = argparse.ArgumentParser(description="Predict label maps with an exported network.")
    parser.add_argument("images", nargs="+", type=Path, help="NIfTI files.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Folder for label maps.")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent
    pipeline = json.loads((here / "pipeline.json").read_text(encoding="utf-8"))
    network = load_network(here)
    arguments.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in arguments.images:
        try:
            image = nib.load(path)
            if len(image.shape) != 3:
                raise ValueError(f"expected three axes, got {image.shape}")
            labels = predict(np.asarray(image.dataobj), image.affine, pipeline, network)
        except (OSError, ValueError, nib.filebasedimages.ImageFileError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed += 1
            continue
        name = path.name.removesuffix(".gz").removesuffix(".nii") + ".nii.gz"
        nib.save(nib.Nifti1Image(labels, image.affine), arguments.output / name)
        print(arguments.output / name)
    return 4 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
