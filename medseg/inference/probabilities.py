"""Probabilities of every class on the native grid, written slab by slab."""

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from nibabel.orientations import io_orientation
from numpy.lib.format import open_memmap

from medseg.errors import UsageError
from medseg.files import atomic_path
from medseg.inference.averaging import activated
from medseg.inference.native import in_ras
from medseg.inference.slices import labels_of
from medseg.volumes import Header


class ProbabilityFile:
    """A ``.npy`` file of float16, shape (C, I, J, K): classes first, then the file's own axes.

    The class is that of the label map: background, then the organs in the order of the model's
    card. Its voxels lie where those of the input do. It is written whole or not at all, and only
    the slab at hand is in memory; ``np.load(path, mmap_mode="r")`` reads it the same way.

    Args:
        path: Ends in ``.npy``; ``None`` writes nothing.
        native: Grid of the input.
        classes: How many, background included.

    Raises:
        UsageError: If ``path`` ends otherwise.
    """

    def __init__(self, path: Path | None, native: Header, classes: int) -> None:
        if path is not None and path.suffix != ".npy":
            raise UsageError(f"{path}: probabilities are written as .npy")
        self._path = path
        self._native = native
        self._classes = classes
        self._stack = ExitStack()
        self._temporary = Path()

    def __enter__(self) -> "ProbabilityFile":
        if self._path is not None:
            self._temporary = self._stack.enter_context(atomic_path(self._path))
            axial_last = int(np.argsort(io_orientation(self._native.affine)[:, 0])[2]) == 2
            shape = (self._classes, *self._native.shape[:3])
            open_memmap(self._temporary, "w+", np.float16, shape, fortran_order=axial_last)
            _fill(self._temporary)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def put(self, first: int, scores: torch.Tensor, activation: str) -> torch.Tensor:
        """Write the probabilities of the axial slices from ``first`` on.

        Args:
            first: Index of the first slice in RAS order.
            scores: Logits on native pixels, shape (n, C, X, Y).
            activation: What makes probabilities of them.

        Returns:
            The class of every pixel, (n, X, Y).
        """
        arrays = activated(scores, activation).half().cpu().numpy()
        file = open_memmap(self._temporary, "r+")  # anew each time: what is mapped counts as memory
        for index in range(self._classes):
            ras = in_ras(file[index], self._native.affine)
            ras[:, :, first : first + len(arrays)] = arrays[:, index].transpose(1, 2, 0)
        file.flush()
        return labels_of(scores)


def _fill(path: Path) -> None:
    """Take the file's place on the disk: a full one ends a process that writes into a mapped file.

    Raises:
        OSError: If the disk has too little.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
