"""Small data sets in published layouts, written for tests."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (7, 6, 5)
AFFINE = np.array([[1.5, 0, 0, -20], [0, 1.25, 0, 31], [0, 0, 3, 7], [0, 0, 0, 1]], dtype=float)
IDS = ("one", "two", "three", "four")
ORGANS = {"anterior": 1, "posterior": 2}


def image_array(seed: int = 0, shape: Sequence[int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(40, 90, shape).astype(np.float32)


def label_array(shape: Sequence[int] = SHAPE) -> np.ndarray:
    label = np.zeros(shape, dtype=np.uint8)
    label[1:3, 1:3, 1:3], label[4:6, 2:4, 2:4] = 1, 2
    return label


def write_nifti(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray = AFFINE,
    edit: Callable[[nib.Nifti1Header], None] | None = None,
) -> Path:
    """Write a NIfTI file; ``edit`` may spoil its header, past nibabel's own checks."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    content = image.to_bytes()
    if edit is not None:
        header = nib.Nifti1Header(content[:348], check=False)
        edit(header)
        content = header.binaryblock + content[348:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def touch(path: Path) -> Path:
    """An empty file, for layouts of which only the names are read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def decathlon(root: Path, ids: Sequence[str] = IDS) -> Path:
    """A clean data set of Decathlon's layout."""
    training = []
    for seed, case_id in enumerate(ids):
        write_nifti(root / "imagesTr" / f"{case_id}.nii.gz", image_array(seed))
        write_nifti(root / "labelsTr" / f"{case_id}.nii.gz", label_array())
        name = f"{case_id}.nii.gz"
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    labels = {"0": "background", "1": "anterior", "2": "posterior"}
    described = {"labels": labels, "numTraining": len(ids), "training": training}
    write_json(root / "dataset.json", described)
    return root


def acdc(root: Path, patients: Sequence[int] = range(1, 101)) -> Path:
    """ACDC's names and Info.cfg, with empty volumes."""
    for number in patients:
        name = f"patient{number:03d}"
        folder = root / "training" / name
        info = "ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
        touch(folder / "Info.cfg").write_text(info)
        for frame in ("frame01", "frame12"):
            touch(folder / f"{name}_{frame}.nii.gz")
            touch(folder / f"{name}_{frame}_gt.nii.gz")
        touch(folder / f"{name}_4d.nii.gz")
        touch(folder / f"._{name}_4d.nii.gz")
    return root


def synapse(root: Path, numbers: Sequence[int] = (*range(1, 11), *range(21, 41))) -> Path:
    """BTCV's names, with empty volumes."""
    for number in numbers:
        touch(root / "RawData" / "Training" / "img" / f"img{number:04d}.nii.gz")
        touch(root / "RawData" / "Training" / "label" / f"label{number:04d}.nii.gz")
    return root


def synapse_preprocessed(root: Path, *, train: int = 2, slices: int = 3) -> Path:
    """Slices, volumes and lists as TransUNet's authors wrote them."""
    import h5py

    image = np.random.default_rng(0).random((slices, 8, 8)).astype(np.float32)
    label = np.zeros((slices, 8, 8), dtype=np.float32)
    label[:, 2:4, 2:4] = np.arange(1, slices + 1)[:, None, None]
    names, cases = [], [f"case{5 + number:04d}" for number in range(train)]
    (root / "train_npz").mkdir(parents=True)
    for number, case_id in enumerate(cases):
        for index in range(slices):
            name = f"{case_id}_slice{index:03d}"
            path = root / "train_npz" / f"{name}.npz"
            np.savez(path, image=(image[index] + number) / (train + 1), label=label[index])
            names.append(name)
    (root / "test_vol_h5").mkdir()
    with h5py.File(root / "test_vol_h5" / "case0001.npy.h5", "w") as file:
        file["image"], file["label"] = image, label
    (root / "lists_Synapse").mkdir()
    (root / "lists_Synapse" / "train.txt").write_text("\n".join(names) + "\n")
    (root / "lists_Synapse" / "test_vol.txt").write_text("case0001\n")
    every = [f"{case_id}.npy.h5" for case_id in [*cases, "case0001"]]
    (root / "lists_Synapse" / "all.lst").write_text("\n".join(every) + "\n")
    return root
