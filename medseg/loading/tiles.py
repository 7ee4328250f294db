"""Exposures of any size as tiles of the network's size, for training and for validation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medseg.case import Case
from medseg.errors import InputError, UsageError
from medseg.jobs import run_each
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.sampling import ShuffledSampler
from medseg.loading.sky import SKY_LIMITS, compress
from medseg.loading.slices import Item
from medseg.volumes.exposure import exposure_of

IGNORED = 255  # label of pixels that losses leave out: give them ignore_index 255
TILE_STREAM = 3  # random numbers apart from the sampler's and the slices'


@dataclass(frozen=True, eq=False)
class TiledExposure:
    """An exposure in memory, cut into tiles that do not overlap; the last ones are padded.

    It offers what :class:`medseg.training.validation.Validation` asks of a case. It takes five
    bytes per pixel.

    Attributes:
        case_id: Id of the case it was read from.
        signal: Distance from the sky in standard deviations of its noise, float32 (H, W).
        known: 1 for a cosmic ray, 0 for none, 255 for pixels to ignore, uint8 (H, W).
        tile: (height, width) of a tile.
        limits: Of :func:`medseg.loading.sky.normalise`.
    """

    case_id: str
    signal: np.ndarray
    known: np.ndarray
    tile: tuple[int, int]
    limits: tuple[float, float] = SKY_LIMITS

    def __len__(self) -> int:
        """How many tiles there are."""
        rows, columns = self._grid
        return rows * columns

    @property
    def images(self) -> np.ndarray:
        """All tiles as the network sees them, float32 in [0, 1], shape (Z, H, W)."""
        return compress(np.stack([self.cut(index)[0] for index in range(len(self))]), self.limits)

    @property
    def classes(self) -> np.ndarray:
        """Class of every pixel of every tile, 255 where ignored or padded, uint8 (Z, H, W)."""
        return np.stack([self.cut(index)[1] for index in range(len(self))])

    def cut(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Signal and classes of one tile, counted row by row; beyond the exposure is empty sky."""
        row, column = divmod(index, self._grid[1])
        height, width = self.tile
        part = (
            slice(row * height, (row + 1) * height),
            slice(column * width, (column + 1) * width),
        )
        signal, known = self.signal[part], self.known[part]
        if signal.shape == self.tile:
            return signal, known
        missing = [(0, size - own) for size, own in zip(self.tile, signal.shape, strict=True)]
        return np.pad(signal, missing), np.pad(known, missing, constant_values=IGNORED)

    @property
    def _grid(self) -> tuple[int, int]:
        return (
            -(-self.signal.shape[0] // self.tile[0]),
            -(-self.signal.shape[1] // self.tile[1]),
        )


class TileDataset(Dataset[Item]):
    """Every tile of some exposures.

    An item is ``{"image": float32 (1, H, W) in [0, 1], "label": int64 (H, W)}``, the label 1 for
    a cosmic ray, 0 for none and 255 for pixels to ignore. Asked for ``index``, the data set shows
    the tile as it is; asked for ``(index, draw)``, it varies it by random numbers that depend on
    ``(seed, draw)`` alone, whichever process does the work.

    A tile is varied by a mirror, a quarter turn, and light: a random multiple k of the sky level
    is added with its photon noise. Where all the noise of the empty sky is photon noise, this
    raises its standard deviation by the square root of 1 + k; measured in that unit, everything
    else becomes fainter by the same factor.

    Args:
        stored: The exposures.
        sky_levels: Smallest and largest k, 0 or more; ``None`` adds no light.
        turn: Whether tiles are mirrored and turned.
        seed: First part of the random numbers.

    Raises:
        UsageError: If ``sky_levels`` does not make sense.
    """

    def __init__(
        self,
        stored: Sequence[TiledExposure],
        *,
        sky_levels: tuple[float, float] | None = None,
        turn: bool = True,
        seed: int = 0,
    ) -> None:
        if sky_levels is not None and not 0 <= sky_levels[0] <= sky_levels[1]:
            raise UsageError(
                "sky_levels must be two numbers of 0 or more, lower first (light cannot be taken "
                f"away with its noise), got {tuple(sky_levels)}"
            )
        self.stored = list(stored)
        self.sky_levels = sky_levels
        self.turn = turn
        self.seed = seed
        self._ends = np.cumsum([len(exposure) for exposure in self.stored])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int | tuple[int, int]) -> Item:
        place, draw = index if isinstance(index, tuple) else (index, None)
        if not 0 <= place < len(self):
            raise IndexError(f"tile {place} of {len(self)}")
        number = int(np.searchsorted(self._ends, place, side="right"))
        exposure = self.stored[number]
        signal, known = exposure.cut(place - int(self._ends[number]) + len(exposure))
        if draw is not None:
            signal, known = self._vary(signal, known, draw)
        image = compress(signal, exposure.limits)[np.newaxis]
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "label": torch.from_numpy(known.astype(np.int64)),
        }

    def _vary(
        self, signal: np.ndarray, known: np.ndarray, draw: int
    ) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((TILE_STREAM, self.seed, draw))
        if self.turn:
            square = signal.shape[0] == signal.shape[1]
            quarters = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
            mirror = slice(None, None, -1 if rng.random() < 0.5 else 1)
            signal, known = (np.rot90(plane, quarters)[mirror] for plane in (signal, known))
        if self.sky_levels is not None:
            levels = rng.uniform(*self.sky_levels)
            noise = rng.standard_normal(signal.shape, dtype=np.float32)
            signal = (signal + np.float32(np.sqrt(levels)) * noise) / np.float32(
                np.sqrt(1 + levels)
            )
        return signal, known


def open_tiles(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    geometry: SliceGeometry,
    *,
    workers: int = 1,
) -> list[TiledExposure]:
    """Read exposures and cut them into tiles of the network's size.

    Args:
        cases: Exposures with masks, as ``medseg.datasets.decam.cases`` gives them.
        preprocessing: Its ``sky`` says how they are scaled.
        geometry: Its ``image_size`` is the size of a tile.
        workers: Processes that read.

    Raises:
        InputError: If an exposure cannot be read or has no mask.
        UsageError: If ``preprocessing`` is for volumes.
    """
    if preprocessing.sky is None:
        raise UsageError("exposures: expected preprocessing with sky: [low, high], got none")
    opened = {outcome.item.case_id: outcome for outcome in run_each(_open, cases, workers=workers)}
    return [
        TiledExposure(case.case_id, *opened[case.case_id].unwrap(), geometry.image_size,
                      preprocessing.sky)
        for case in cases
    ]  # fmt: skip


def tile_loader(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    geometry: SliceGeometry,
    *,
    batch_size: int,
    sky_levels: tuple[float, float] | None = None,
    turn: bool = True,
    seed: int = 0,
    workers: int = 0,
) -> DataLoader[Item]:
    """Load training batches of tiles, every tile once per epoch in random order.

    Call ``loader.sampler.set_epoch(epoch)`` before each epoch, counted from 1: its order and its
    variations depend on (seed, epoch) alone.

    Args:
        cases: As in :func:`open_tiles`.
        preprocessing: As in :func:`open_tiles`.
        geometry: As in :func:`open_tiles`.
        batch_size: Tiles per batch; the last one is smaller if they do not divide.
        sky_levels: As in :class:`TileDataset`.
        turn: As in :class:`TileDataset`.
        seed: Of order and variation.
        workers: Processes that prepare batches; 0 prepares them in this one.

    Raises:
        InputError: If an exposure cannot be read or has no mask.
        UsageError: If the numbers do not make sense.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, got {batch_size}")
    stored = open_tiles(cases, preprocessing, geometry, workers=max(1, workers))
    levels = None if sky_levels is None else (float(sky_levels[0]), float(sky_levels[1]))
    dataset = TileDataset(stored, sky_levels=levels, turn=turn, seed=seed)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=ShuffledSampler(len(dataset), seed=seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(seed),  # leaves torch's own numbers untouched
    )


def _open(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Signal and classes of a whole exposure."""
    exposure = exposure_of(case)
    if exposure.mask is None:
        raise InputError(f"{case.image}", "an exposure with a mask of cosmic rays", "none")
    signal = (exposure.image - np.float32(exposure.sky)) / np.float32(exposure.noise)
    known = np.where(exposure.ignore, np.uint8(IGNORED), exposure.mask.astype(np.uint8))
    return signal, known
