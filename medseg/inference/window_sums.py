"""Weighted sums of overlapping windows for the axial planes that windows still reach.

They are a ring of as many planes as a window is deep, (planes, C, X, Y), in memory or in a file.
Either adds the same float32 numbers in the same order.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Protocol

import torch

from medseg.errors import DiskFullError

ROW_BYTES = 2**28  # of a file's sums in memory at once
ZEROS = 2**24
Shape = tuple[int, int, int, int]


class WindowSums(Protocol):
    """What is asked of a store of sums.

    Attributes:
        shape: Planes that are open at once, classes, and the size of a plane.
    """

    shape: Shape

    def add(
        self, corner: tuple[int, int, int], scores: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """Add a window's scores times their weights.

        Args:
            corner: First plane, row and column (z, x, y).
            scores: Shape (C, X, Y, Z).
            weights: Shape (Z, X, Y).
        """

    def take(self, start: int, stop: int) -> torch.Tensor:
        """The sums of planes that no further window reaches, (n, C, X, Y); cleared for others."""

    def close(self) -> None:
        """Let go of memory and disk."""


class MemorySums:
    """Sums in the memory of the device that scores come from.

    Args:
        shape: As in :class:`WindowSums`.
        device: Of the scores.
    """

    def __init__(self, shape: Shape, device: str | torch.device) -> None:
        self.shape = shape
        self._kept = torch.zeros(shape, device=device)

    def add(
        self, corner: tuple[int, int, int], scores: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """As :meth:`WindowSums.add`."""
        z, x, y = corner
        rows, columns = slice(x, x + scores.shape[1]), slice(y, y + scores.shape[2])
        pieces = list(_slots(z, z + scores.shape[3], len(self._kept)))
        for index, weighted in enumerate(_weighted(scores, weights)):
            for slots, part in pieces:
                self._kept[slots, index, rows, columns] += weighted[part]

    def take(self, start: int, stop: int) -> torch.Tensor:
        """As :meth:`WindowSums.take`."""
        taken = self._kept.new_empty(stop - start, *self._kept.shape[1:])
        for slots, part in _slots(start, stop, len(self._kept)):
            taken[part] = self._kept[slots]
            self._kept[slots] = 0
        return taken

    def close(self) -> None:
        """As :meth:`WindowSums.close`."""
        self._kept = torch.empty(0)


class FileSums:
    """Sums in a file without a name, in the folder for temporary files.

    The file goes with the process, however that ends. Windows of one row are added in memory if
    they fit; else each is added to the file, a few classes at a time.

    Args:
        shape: As in :class:`WindowSums`.
        device: Of the scores.

    Raises:
        DiskFullError: If there is no room for the file.
    """

    def __init__(self, shape: Shape, device: str | torch.device) -> None:
        self.shape, self._device = shape, device
        self._file = _room_for(4 * torch.Size(shape).numel())
        self._row = torch.empty(0)  # (classes, Z, X, all Y) of a row of windows
        self._place: tuple[int, int, int] | None = None  # its plane, row and class

    def add(
        self, corner: tuple[int, int, int], scores: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """As :meth:`WindowSums.add`."""
        z, x, y = corner
        classes, rows, columns, depth = scores.shape
        step = max(1, ROW_BYTES // (4 * depth * rows * self.shape[3]))
        shape = (min(step, classes), depth, rows, self.shape[3])
        for index, weighted in enumerate(_weighted(scores.cpu(), weights.cpu())):
            self._move_to((z, x, index - index % step), shape)
            self._row[index % step, ..., y : y + columns] += weighted

    def take(self, start: int, stop: int) -> torch.Tensor:
        """As :meth:`WindowSums.take`."""
        self._put_back()
        self._row = torch.empty(0)
        taken = torch.empty(stop - start, *self.shape[1:])
        nothing = memoryview(bytes(4 * taken[0].numel()))
        for plane, sums in zip(range(start, stop), taken, strict=True):
            self._seek(plane, 0, 0)
            self._file.readinto(sums.numpy())  # type: ignore[attr-defined]
            self._seek(plane, 0, 0)
            self._file.write(nothing)
        return taken.to(self._device)

    def close(self) -> None:
        """As :meth:`WindowSums.close`."""
        self._row = torch.empty(0)
        self._file.close()

    def _move_to(self, place: tuple[int, int, int], shape: tuple[int, ...]) -> None:
        """Have the row of windows at a plane, a row and a class in memory."""
        if place == self._place:
            return
        self._put_back()
        if self._row.shape != shape:
            self._row = torch.zeros(shape)
        self._place = place
        for part in self._parts():
            self._file.readinto(part.numpy())  # type: ignore[attr-defined]

    def _put_back(self) -> None:
        """Write the row in memory into the file."""
        if self._place is not None:
            for part in self._parts():
                self._file.write(part.numpy().data)
        self._place = None

    def _parts(self) -> Iterator[torch.Tensor]:
        """The parts of the row that lie in one piece in the file, which stands before each."""
        z, x, first = self._place or (0, 0, 0)
        for depth in range(self._row.shape[1]):
            for index in range(first, min(first + len(self._row), self.shape[1])):
                self._seek(z + depth, index, x)
                yield self._row[index - first, depth]

    def _seek(self, plane: int, index: int, row: int) -> None:
        planes, classes, rows, columns = self.shape
        self._file.seek(4 * columns * (rows * (classes * (plane % planes) + index) + row))


def _weighted(scores: torch.Tensor, weights: torch.Tensor) -> Iterator[torch.Tensor]:
    """Scores (C, X, Y, Z) times weights, class by class, (Z, X, Y) each."""
    if not scores.is_contiguous():  # channels may have come last: two axes are turned quickly
        voxels = scores.permute(1, 2, 3, 0).reshape(-1, len(scores))
        scores = voxels.t().contiguous().view(scores.shape)
    for one in scores:
        turned = one.reshape(-1, one.shape[-1]).t().contiguous()
        yield turned.view(weights.shape) * weights


def _slots(start: int, stop: int, planes: int) -> Iterator[tuple[slice, slice]]:
    """Where planes stand in the ring, and which of them these are."""
    done = start
    while done < stop:
        slot = done % planes
        count = min(stop - done, planes - slot)
        yield slice(slot, slot + count), slice(done - start, done - start + count)
        done += count


def _room_for(size: int) -> IO[bytes]:
    """A file of so many zeros, for which the disk has room."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed with the sums)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, ZEROS):
                file.write(bytes(min(ZEROS, size - start)))
    except OSError as error:
        file.close()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of scores; set TMPDIR to a "
            "folder that has it, or allow more memory (--max-memory)"
        ) from error
    return file
