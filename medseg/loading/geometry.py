"""Which part of a volume the network's input shows: an axial slice, or a patch."""

from dataclasses import dataclass

import numpy as np

from medseg.errors import UsageError


@dataclass(frozen=True)
class SliceGeometry:
    """How an axial slice of any size becomes the network's input, and back.

    Attributes:
        image_size: Height and width of the network's input, in pixels.
        zoom: Pixels of input per pixel of the slice, the slice centred and padded with zeros; a
            slice too large for the input is shrunk until it fits. ``None`` stretches the slice
            to the input instead, as TransUNet does.
        neighbours: Slices below and above that are given as further channels (2.5D); the input
            has ``2 * neighbours + 1`` channels, lowest slice first.
    """

    image_size: tuple[int, int]
    zoom: float | None = None
    neighbours: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", tuple(int(size) for size in self.image_size))
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise UsageError(f"image_size must be two positive sizes, got {self.image_size}")
        if self.zoom is not None and self.zoom <= 0:
            raise UsageError(f"zoom must be positive or none, got {self.zoom}")
        if self.neighbours < 0:
            raise UsageError(f"neighbours must be 0 or more, got {self.neighbours}")

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return 2 * self.neighbours + 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, H, W) of one input of the network."""
        return (self.channels, *self.image_size)

    @property
    def outside(self) -> str:
        """What lies beyond the slice: its outermost pixels where it is stretched, else zeros."""
        return "border" if self.zoom is None else "zeros"

    def matrix(self, slice_shape: tuple[int, int]) -> np.ndarray:
        """Affine from input pixel (h, w) to slice pixel (x, y), shape (2, 3), float64.

        Pixel centres lie at integers, and the slice's centre at the input's centre; at a zoom of
        one it may lie half a pixel off, so that pixels are copied and not blurred.
        """
        source = np.asarray(slice_shape, dtype=float)
        target = np.asarray(self.image_size, dtype=float)
        if self.zoom is None:
            step = source / target
        else:
            step = np.full(2, 1.0 / min(self.zoom, *(target / source)))
        shift = (source - 1) / 2 - step * (target - 1) / 2
        shift = np.where(step == 1, np.floor(shift), shift)
        return np.column_stack([np.diag(step), shift])

    def slice_indices(self, slice_index: int, depth: int) -> list[int]:
        """The slices shown as channels for one slice; the outermost are repeated at the ends."""
        reach = range(slice_index - self.neighbours, slice_index + self.neighbours + 1)
        return [min(max(index, 0), depth - 1) for index in reach]


@dataclass(frozen=True)
class PatchGeometry:
    """How a volume becomes the patches that a 3D network sees, and back.

    Attributes:
        patch_size: Voxels of a patch along left-right, back-front and feet-head of the prepared
            volume. Smaller volumes are padded with zeros at the end of each axis.
        overlap: Share of a patch's side that neighbouring patches have in common in prediction,
            at least 0 and below 1; their scores are averaged with Gaussian weights.
    """

    patch_size: tuple[int, int, int]
    overlap: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_size", tuple(int(size) for size in self.patch_size))
        if len(self.patch_size) != 3 or min(self.patch_size) < 1:
            raise UsageError(f"patch_size must be three positive sizes, got {self.patch_size}")
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap must be at least 0 and below 1, got {self.overlap}")

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, X, Y, Z) of one input of the network."""
        return (self.channels, *self.patch_size)
