"""A config in the making: one data set and network, and the input and batch that still vary."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medseg.datasets.fingerprint import Fingerprint
from medseg.errors import ResourceError
from medseg.plan import memory
from medseg.plan.networks import (
    NETWORKS,
    SIZES,
    attention_for,
    most_strides,
    network_section,
)
from medseg.plan.said import Said
from medseg.plan.sections import Input, content_of
from medseg.plan.shapes import (
    Grid,
    choose_strides,
    largest_batch,
    largest_within,
    multiple_of,
    patches,
)
from medseg.plan.source import DataSource

LEAST_BATCH, LARGEST_BATCH = {2: 4, 3: 2}, {2: 16, 3: 8}
SMALLEST_IMAGE = 96  # smaller slices are enlarged: at 1/16 of less there is little to see
DRAWS = {"cpu": {2: 400, 3: 40}, "cuda": {2: 2000, 3: 250}}  # from each case, over all epochs
Content = dict[str, Any]


@dataclass
class Draft:
    """Everything of a plan but the size of the input, the batch and the kind of attention.

    Attributes:
        source: The data set.
        found: Its fingerprint.
        grid: What volumes are brought to.
        network: One of :data:`medseg.plan.networks.NETWORKS`.
        device: ``"cpu"`` or ``"cuda"``.
        chosen_device: What the config says: ``"auto"``, or what was asked for.
        limit: Bytes that training may take.
    """

    source: DataSource
    found: Fingerprint
    grid: Grid
    network: str
    device: str
    chosen_device: str
    limit: float
    _needs: dict[tuple[Any, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dims = NETWORKS[self.network]
        self.largest = self.grid.shape if self.dims == 3 else self._slice()
        enlarged = max(1.0, 10 * SMALLEST_IMAGE // max(self.largest) / 10)
        self.zoom = enlarged if self.dims == 2 else 1.0
        seen = tuple(math.ceil(side * self.zoom) for side in self.largest)
        self.strides = self._strides()
        self.sizes = patches(seen, multiple_of(self.strides.value))

    @property
    def least(self) -> float:
        """Bytes that the smallest input needs."""
        return self.needs(self.sizes[-1], LEAST_BATCH[self.dims], "windowed")

    def within(self, allowed: float) -> Content:
        """The config with the largest input, then the largest batch, estimated to be allowed.

        Raises:
            ResourceError: If the smallest needs more; it says how much.
        """
        batch = LEAST_BATCH[self.dims]
        sparse = "windowed"  # for all sizes alike, so that more memory never gives a smaller one
        size = largest_within(self.sizes, lambda s: self.needs(s, batch, sparse), allowed)
        if size is None:
            enough = math.ceil(self.least / 1e8) / 10
            raise ResourceError(
                f"{self.network} needs about {enough:.1f} GB for the smallest input, "
                f"{_times(self.sizes[-1])} in batches of {batch}; "
                f"{self.limit / 1e9:.3g} GB were allowed; give more with --memory"
            )
        kind = attention_for(size, self.strides.value)
        if self.needs(size, batch, kind) > allowed:
            kind = sparse
        most = largest_batch(
            math.prod(size), self.found, least=batch, most=LARGEST_BATCH[self.dims]
        )
        batches = [(count,) for count in range(most, batch - 1, -1)]
        found = largest_within(batches, lambda b: self.needs(size, b[0], kind), allowed)
        return self.content(size, found[0] if found else batch, kind)

    def needs(self, size: tuple[int, ...], batch: int, attention: str) -> float:
        """Bytes that training with this input would need."""
        key = (size, batch, attention)
        if key not in self._needs:
            content = self.content(size, batch, attention)
            self._needs[key] = memory.bytes_of(content, self.device)
        return self._needs[key]

    def content(self, size: tuple[int, ...], batch: int, attention: str) -> Content:
        """The config of this input."""
        seen = Input(size, self._why(size), self._batch(size, batch), self._zoom(size))
        network = network_section(
            self.network, size=SIZES[self.device], strides=self.strides, patch=size,
            channels=seen.channels, num_classes=len(self.source.labels) + 1, attention=attention,
        )  # fmt: skip
        return content_of(
            self.source, self.found, self.grid, seen, network, name=self.network,
            device=self.chosen_device, draws=DRAWS[self.device][self.dims],
        )  # fmt: skip

    def _slice(self) -> tuple[int, int]:
        """The largest slice on the grid."""
        sides = np.array(self.found.shapes) * self.found.spacings / self.grid.spacing.value
        x, y, _ = np.ceil(sides.max(axis=0).round(3)).astype(int)
        return int(x), int(y)

    def _strides(self) -> Said:
        if self.network == "transunet":
            return Said([[2, 2]] * most_strides(self.network, self.largest), "TransUNet's own")
        strides = choose_strides(self.grid, most_strides(self.network, self.grid.shape))
        if self.dims == 3:
            return strides
        flat = Grid(
            Said([*self.grid.spacing.value[:2], math.inf], ""), (*self.largest, 1), self.grid.thick
        )
        steps = choose_strides(flat, most_strides(self.network, self.largest)).value
        return Said([step[:2] for step in steps], "halved while enough pixels are left")

    def _why(self, size: tuple[int, ...]) -> str:
        what = "median volume" if self.dims == 3 else "largest slice"
        held = f"the {what}, {_times(self.largest)} voxels"
        if size == self.sizes[0]:
            return f"holds {held}"
        return f"largest within {self.limit / 1e9:.3g} GB that is shaped like {held}"

    def _batch(self, size: tuple[int, ...], batch: int) -> Said:
        least, most = LEAST_BATCH[self.dims], LARGEST_BATCH[self.dims]
        most = largest_batch(math.prod(size), self.found, least=least, most=most)
        if batch < most:
            return Said(batch, f"what {self.limit / 1e9:.3g} GB leave room for; not below {least}")
        return Said(batch, f"at most {LARGEST_BATCH[self.dims]}, and a small share of the cases")

    def _zoom(self, size: tuple[int, ...]) -> Said | None:
        if self.dims == 3:
            return None
        fitting = min(side / whole for side, whole in zip(size, self.largest, strict=True))
        if fitting >= self.zoom:
            why = "pixels as they are" if self.zoom == 1 else "small slices are enlarged"
            return Said(self.zoom, why)
        return Said(math.floor(100 * fitting) / 100, "every slice shrunk alike, to fit")


def _times(size: tuple[int, ...]) -> str:
    return " × ".join(map(str, size))
