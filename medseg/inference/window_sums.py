"""Weighted sums of overlapping windows for the planes that windows still reach."""

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO

import numpy as np
import torch

from medseg.errors import DiskFullError

MAPPED_BYTES = 2**26  # of a file, in memory at once


class WindowSums:
    """Sums for a ring of axial planes, in the device's memory or in a file without a name.

    The file lies in the folder for temporary files and goes with the process, however that ends.
    Memory and file hold the same float32 numbers.

    Args:
        planes: How many are open at once: a window's depth.
        classes: Channels of the network's output.
        size: Of a plane, (X, Y).
        device: Where scores come from and sums go to.
        in_file: Whether they are kept in a file.

    Attributes:
        classes: As above.

    Raises:
        DiskFullError: If there is no room for the file.
    """

    def __init__(
        self, planes: int, classes: int, size: tuple[int, int], *,
        device: str | torch.device, in_file: bool,
    ) -> None:  # fmt: skip
        self.classes = classes
        self._shape = (planes, classes, *size)
        self._device = device
        self._file = _room_for(4 * math.prod(self._shape)) if in_file else None
        self._kept = torch.empty(0) if in_file else torch.zeros(self._shape, device=device)

    def __enter__(self) -> "WindowSums":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kept = torch.empty(0)
        if self._file is not None:
            self._file.close()

    def add(
        self, corner: tuple[int, int, int], scores: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """Add a window's scores times their weights.

        Args:
            corner: First plane, row and column (z, x, y).
            scores: Shape (C, X, Y, Z).
            weights: Shape (Z, X, Y).
        """
        z, x, y = corner
        classes, *_, depth = scores.shape
        rows, columns = slice(x, x + scores.shape[1]), slice(y, y + scores.shape[2])
        pieces = list(self._slots(z, z + depth))
        if self._file is not None:
            scores, weights = scores.cpu(), weights.cpu()
        for group in self._groups(classes, depth * scores.shape[1]):
            kept = self._open()
            for index in group:
                turned = scores[index].reshape(-1, depth).t().contiguous()  # quick for two axes
                weighted = turned.view(weights.shape) * weights
                for slots, part in pieces:
                    kept[slots, index, rows, columns] += weighted[part]

    def take(self, start: int, stop: int) -> torch.Tensor:
        """The sums of planes that no further window reaches, (n, C, X, Y); cleared for others."""
        taken = torch.empty(stop - start, *self._shape[1:])
        taken = taken if self._file is not None else taken.to(self._device)
        kept = self._open()
        for slots, part in self._slots(start, stop):
            taken[part] = kept[slots]
            kept[slots] = 0
        return taken.to(self._device)

    def _open(self) -> torch.Tensor:
        """All sums; those of a file are mapped anew: what has been mapped counts as memory."""
        if self._file is None:
            return self._kept
        return torch.from_numpy(np.memmap(self._file, np.float32, "r+", shape=self._shape))

    def _groups(self, classes: int, rows: int) -> Iterator[range]:
        """Classes to be mapped at once where there is a file; else all of them."""
        step = classes
        if self._file is not None:  # whole rows of a plane: columns share pages
            step = max(1, MAPPED_BYTES // (4 * rows * self._shape[3]))
        for start in range(0, classes, step):
            yield range(start, min(start + step, classes))

    def _slots(self, start: int, stop: int) -> Iterator[tuple[slice, slice]]:
        """Where planes stand in the ring, and which of them these are."""
        done = start
        while done < stop:
            slot = done % self._shape[0]
            count = min(stop - done, self._shape[0] - slot)
            yield slice(slot, slot + count), slice(done - start, done - start + count)
            done += count


def _room_for(size: int) -> IO[bytes]:
    """A file of zeros whose blocks are there: a mapping has no way to say that they are not."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the sums)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, MAPPED_BYTES):
                file.write(bytes(min(MAPPED_BYTES, size - start)))
            file.flush()
    except OSError as error:
        file.close()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of scores; set TMPDIR to a "
            "folder that has it, or allow more memory (--max-memory)"
        ) from error
    return file
