"""Prepare one case and write it to the slice store, whole or not at all."""

import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Case, Source
from medseg.errors import InputError, MedsegError, ResourceError
from medseg.loading.content import state_of
from medseg.loading.preprocessing import Preprocessing, prepare_image, prepare_label
from medseg.loading.stored_case import (
    CARD,
    CLASSES,
    COUNTS,
    FULL_SCALE,
    IMAGES,
    read_entry,
)
from medseg.volumes import Volume, corner_distance_mm, read_volume
from medseg.volumes.files import files_of

TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class BuildJob:
    """One case to be prepared into one folder of the store.

    Attributes:
        case: What to read.
        folder: Where it goes.
        preprocessing: What is done to it.
        labels: Organs in the order of the classes.
        states: State of the image's and the label's files when their content was hashed.
    """

    case: Case
    folder: Path
    preprocessing: Preprocessing
    labels: Mapping[str, int]
    states: tuple[Any, Any]

    def __str__(self) -> str:
        return self.case.case_id


def build_entry(job: BuildJob) -> None:
    """Read, prepare and write one case.

    The folder is made under a temporary name and renamed when everything is on disk, so that a
    kill leaves nothing that could be read, and of two processes building the same case the
    second finds it done.

    Raises:
        InputError: If image or label cannot be used as they are.
        ResourceError: If the disk is full.
    """
    if multiprocessing.parent_process() is not None:
        import torch

        torch.set_num_threads(1)  # the cases already run side by side
    try:
        _build(job)
    except MedsegError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"{job.folder.parent}: the disk is full") from error
        raise
    except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(first_file(job.case.image), "a usable volume", reason) from error


def first_file(source: Source) -> Path:
    """The file that stands for a source in messages."""
    return source[0] if isinstance(source, tuple) else source


def _build(job: BuildJob) -> None:
    arrays, affine = _prepare(job)
    if _states(job.case) != job.states:
        image = first_file(job.case.image)
        raise InputError(image, "a file at rest", "one that changes while it is read")
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = job.folder.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        _write(temporary, arrays, affine, len(job.labels) + 1)
        _put_in_place(temporary, job.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _states(case: Case) -> tuple[Any, Any]:
    label = None if case.label is None else state_of(files_of(case.label))
    return state_of(files_of(case.image)), label


def _prepare(job: BuildJob) -> tuple[dict[str, np.ndarray], np.ndarray]:
    case = job.case
    volume = read_volume(case.image)
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        broken = int(np.count_nonzero(~np.isfinite(volume.array)))
        got = f"NaN or infinity in {broken} voxels"
        raise InputError(first_file(case.image), "finite intensities", got)
    image = prepare_image(volume, job.preprocessing)
    scaled = image.array.transpose(2, 0, 1) * np.float32(FULL_SCALE)
    arrays = {IMAGES: np.rint(scaled).astype(np.uint16, order="C")}
    if case.label is not None:
        label = _label_on(volume, case.label)
        classes = prepare_label(
            label, job.preprocessing, case.labels, job.labels, source=first_file(case.label)
        ).array
        arrays[CLASSES] = np.ascontiguousarray(classes.transpose(2, 0, 1))
        arrays[COUNTS] = np.stack(
            [np.bincount(plane.ravel(), minlength=len(job.labels) + 1) for plane in arrays[CLASSES]]
        )
    return arrays, image.affine


def _label_on(image: Volume, source: Source) -> Volume:
    """Read a label map and put it on the image's grid, which must be its own but for noise."""
    label, path = read_volume(source, "label"), first_file(source)
    if label.array.shape != image.array.shape:
        raise InputError(path, f"the image's shape {image.array.shape}", f"{label.array.shape}")
    apart, tolerance = corner_distance_mm(image, label, image.array.shape), min(image.spacing) / 2
    if not apart <= tolerance:
        wanted = f"the image's position within {tolerance:.3g} mm (half a voxel)"
        raise InputError(path, wanted, f"corners {apart:.3g} mm apart", "see medseg check")
    return Volume(label.array, image.affine)


def _write(
    folder: Path, arrays: Mapping[str, np.ndarray], affine: np.ndarray, num_classes: int
) -> None:
    offsets = {name: _write_array(folder / name, array) for name, array in arrays.items()}
    card = {
        "shape": list(arrays[IMAGES].shape),
        "affine": affine.tolist(),
        "num_classes": num_classes,
        "offsets": offsets,
        "sizes": {name: (folder / name).stat().st_size for name in arrays},
    }
    with (folder / CARD).open("wb") as file:
        file.write(json.dumps(card).encode())
        _flush(file.fileno(), file)


def _write_array(path: Path, array: np.ndarray) -> int:
    """Write a ``.npy`` file and return where its data begin.

    ``numpy.save`` loses the error number of a full disk, and a written memory map dies of it.
    """
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        file.write(array.reshape(-1).view(np.uint8).data)
        _flush(file.fileno(), file)
    return offset


def _flush(descriptor: int, file: Any) -> None:
    file.flush()
    os.fsync(descriptor)


def _put_in_place(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if read_entry(folder, "") is None:  # damaged since: ours takes its place
            discard(folder)
            temporary.rename(folder)


def discard(folder: Path) -> None:
    """Take a folder out of the store at once, then delete it."""
    gone = folder.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
