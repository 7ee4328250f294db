"""A slab of voxels that tissues are painted on, one over the other."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medseg.datasets._phantom.types import Array, Point


@dataclass(frozen=True)
class Canvas:
    """Voxels with their place in the body; painting changes ``hu`` and ``label`` in place.

    Every array has the shape (Z, Y, X). Body coordinates are in mm: x to the patient's right,
    y to the front, z to the head, origin in the middle of the first lumbar vertebra.

    Attributes:
        x: Place of each voxel; float32, as all others but ``label``.
        y: Place with the spine's curve taken out: the spine stands at y = 0 at every height.
        z: Place.
        hu: Intensity so far, in HU.
        label: Organ so far, uint8.
        cavity: Distance to the wall of chest and abdomen, in mm, negative inside.
        dome: Height above the diaphragm, in mm.
        coarse: Random field, smooth over 30 mm, standard deviation 1.
        fine: Random field, smooth over 9 mm, standard deviation 1.
        edge: Width over which two tissues mix in a voxel, in mm.
    """

    x: Array
    y: Array
    z: Array
    hu: Array
    label: Array
    cavity: Array
    dome: Array
    coarse: Array
    fine: Array
    edge: float

    @cached_property
    def _ranges(self) -> list[tuple[Array, Array]]:
        """Lowest and highest coordinate of each plane, for the axes (z, y, x)."""
        others = ((1, 2), (0, 2), (0, 1))
        places = (self.z, self.y, self.x)
        return [(p.min(axis=o), p.max(axis=o)) for p, o in zip(places, others, strict=True)]

    def crop(self, low: Point, high: Point) -> "Canvas | None":
        """The part that may show the box (x, y, z) ``low`` to ``high``, sharing its memory."""
        window = self.window(low, high)
        return None if window is None else self.at(window)

    def window(self, low: Point, high: Point) -> tuple[slice, slice, slice] | None:
        """The index ranges that may show a box, soft border and all, or None if none do."""
        found = []
        bounds = zip(self._ranges, low[::-1], high[::-1], strict=True)
        for (lowest, highest), start, end in bounds:
            inside = np.flatnonzero((highest >= start - self.edge) & (lowest <= end + self.edge))
            if not inside.size:
                return None
            found.append(slice(int(inside[0]), int(inside[-1]) + 1))
        return found[0], found[1], found[2]

    def at(self, window: tuple[slice, slice, slice]) -> "Canvas":
        """The voxels of an index window, sharing their memory."""
        return Canvas(
            self.x[window],
            self.y[window],
            self.z[window],
            self.hu[window],
            self.label[window],
            self.cavity[window],
            self.dome[window],
            self.coarse[window],
            self.fine[window],
            self.edge,
        )

    def paint(
        self, distance: Array, hu: float | Array, *, label: int | None = None, softness: float = 1.0
    ) -> None:
        """Cover the voxels inside a shape.

        Args:
            distance: To the shape's surface in mm, negative inside.
            hu: Intensity of the tissue.
            label: What the voxels are from now on; ``None`` leaves them what they were.
            softness: How much wider than ``edge`` the border is.
        """
        share = np.clip(0.5 - distance / np.float32(self.edge * softness), 0, 1)
        self.hu[...] += share * (hu - self.hu)
        if label is not None:
            self.label[distance < 0] = label
