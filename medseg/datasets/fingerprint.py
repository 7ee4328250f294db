"""What a data set is like, in numbers: sizes, spacings, intensities, organs. No torch.

Of every case the header is read; of up to :data:`SAMPLE` cases, evenly spread, the voxels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from medseg.case import Case
from medseg.datasets.problems import first_path
from medseg.errors import InputError
from medseg.jobs import Outcome, Progress, run_each, silent
from medseg.volumes import read_header, read_volume

SAMPLE = 40  # cases whose voxels are read
DRAWN = 20_000  # intensities kept of a case, evenly spread over its organs
AIR_HU, LOWEST_HU, HIGHEST_HU = -200, -5000, 40_000  # no MRI has negative numbers so far down
SHOWN = 10  # damaged cases named in an error
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Organ:
    """How large an organ is, over the cases that were read and have it.

    Attributes:
        cases: In how many of the cases read it is.
        millilitres: Its median volume.
        extent_mm: Median sides of the box around it: left-right, back-front, feet-head.
        share: Its part of a volume's voxels, median.
    """

    cases: int
    millilitres: float
    extent_mm: Triple
    share: float


@dataclass(frozen=True)
class Fingerprint:
    """What a set of training cases is like; axes are left-right, back-front and feet-head.

    Attributes:
        shapes: Voxels of every case.
        spacings: Distance between voxel centres of every case, in mm.
        modality: ``"CT"`` (absolute scale) or ``"other"`` (each volume its own scale).
        intensities: Percentiles of the organs' intensities: ``"0.5"``, ``"50"``, ``"99.5"``.
        organs: Organ → its sizes.
        cases_read: How many cases' voxels were read.
    """

    shapes: Sequence[tuple[int, int, int]]
    spacings: Sequence[Triple]
    modality: str
    intensities: Mapping[str, float]
    organs: Mapping[str, Organ]
    cases_read: int

    @property
    def num_cases(self) -> int:
        """How many cases there are."""
        return len(self.shapes)

    def to_plain(self) -> dict[str, Any]:
        """As plain data for JSON."""
        shapes, spacings = np.array(self.shapes), np.array(self.spacings)
        return {
            "cases": self.num_cases,
            "cases_read": self.cases_read,
            "modality": self.modality,
            "shape": _spread(shapes),
            "spacing_mm": _spread(spacings),
            "extent_mm": _spread(shapes * spacings),
            "intensities": dict(self.intensities),
            "organs": {
                name: {**asdict(organ), "extent_mm": list(organ.extent_mm)}
                for name, organ in self.organs.items()
            },
        }


@dataclass(frozen=True)
class _Look:
    """One case to look at: its header, and its voxels if they are wanted."""

    case: Case
    whole: bool
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """What one look found; organs by their voxels and the sides of their box in voxels."""

    shape: tuple[int, int, int]
    spacing: Triple
    lowest: float = math.nan
    highest: float = math.nan
    drawn: np.ndarray | None = None
    organs: Mapping[str, tuple[int, tuple[int, int, int]]] | None = None


def fingerprint(
    cases: Sequence[Case],
    labels: Mapping[str, int],
    *,
    modality: str = "",
    workers: int = 1,
    progress: Progress = silent,
) -> Fingerprint:
    """Measure a set of cases.

    Args:
        cases: Cases with labels.
        labels: The organs that count; others are background.
        modality: What the data set says of itself, such as ``"CT"`` or ``"MRI"``; empty: the
            intensities decide.
        workers: Processes that read side by side.
        progress: Told after every case.

    Raises:
        InputError: If a case cannot be read; up to ten are named.
    """
    places = np.linspace(0, len(cases) - 1, min(SAMPLE, len(cases))).round().astype(int)
    whole = set(places.tolist())
    looks = [_Look(case, index in whole, tuple(labels)) for index, case in enumerate(cases)]
    progress("Measuring cases", 0, len(looks))
    outcomes: list[Outcome[_Look, _Seen]] = []
    for outcome in run_each(_look, looks, workers=workers):
        outcomes.append(outcome)
        progress("Measuring cases", len(outcomes), len(looks), outcome.item.case.case_id)
    _refuse([outcome for outcome in outcomes if outcome.error is not None])
    found = {outcome.item.case.case_id: outcome.unwrap() for outcome in outcomes}
    seen = [found[case.case_id] for case in cases]
    read = [one for one in seen if one.drawn is not None]
    return Fingerprint(
        shapes=[one.shape for one in seen],
        spacings=[one.spacing for one in seen],
        modality=_modality(modality, read),
        intensities=_percentiles(read),
        organs={name: _organ(name, read) for name in labels},
        cases_read=len(read),
    )


def _look(look: _Look) -> _Seen:
    case = look.case
    if not look.whole:
        source = first_path(case.image)
        header = read_header(source)
        shape = tuple(size for size in header.shape if size > 1 or len(header.shape) == 3)
        if isinstance(case.image, tuple):  # a file per axial slice
            shape = (*shape[:2], len(case.image))
        if len(shape) != 3:
            raise InputError(source, "a 3D volume", f"shape {header.shape}")
        return _Seen(*_along_ras(shape, header.spacing, header.affine))
    image, label = read_volume(case.image), read_volume(case.label or (), "label")
    if image.array.shape != label.array.shape:
        path = first_path(case.label or case.image)
        raise InputError(path, f"the image's shape {image.array.shape}", f"{label.array.shape}")
    values = [case.labels[name] for name in look.labels if name in case.labels]
    drawn = image.array[np.isin(label.array, values)]
    drawn = drawn[:: max(1, len(drawn) // DRAWN)].astype(np.float32)
    finite = image.array[np.isfinite(image.array)]
    organs = {
        name: _box(label.array == case.labels[name], image.affine)
        for name in look.labels
        if name in case.labels
    }
    return _Seen(
        *_along_ras(image.array.shape, image.spacing, image.affine),
        lowest=float(finite.min()) if finite.size else math.nan,
        highest=float(finite.max()) if finite.size else math.nan,
        drawn=drawn[np.isfinite(drawn)],
        organs={name: box for name, box in organs.items() if box[0]},
    )


def _along_ras(
    shape: Sequence[int], spacing: Triple, affine: np.ndarray
) -> tuple[tuple[int, int, int], Triple]:
    """Shape and spacing with left-right, back-front and feet-head in this order."""
    order = _ras_order(affine)
    x, y, z = (int(shape[axis]) for axis in order)
    dx, dy, dz = (float(spacing[axis]) for axis in order)
    return (x, y, z), (dx, dy, dz)


def _ras_order(affine: np.ndarray) -> list[int]:
    axes = io_orientation(affine)[:, 0]
    if np.isnan(axes).any():
        return [0, 1, 2]
    return [int(np.flatnonzero(axes == axis)[0]) for axis in range(3)]


def _box(mask: np.ndarray, affine: np.ndarray) -> tuple[int, tuple[int, int, int]]:
    """Voxels of a mask, and the sides of its box along the RAS axes in voxels."""
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        sides.append(int(places[-1] - places[0] + 1) if len(places) else 0)
    x, y, z = (sides[axis] for axis in _ras_order(affine))
    return int(np.count_nonzero(mask)), (x, y, z)


def _organ(name: str, read: Sequence[_Seen]) -> Organ:
    having = [(one, one.organs[name]) for one in read if one.organs and name in one.organs]
    if not having:
        return Organ(0, 0.0, (0.0, 0.0, 0.0), 0.0)
    volumes = [voxels * math.prod(one.spacing) / 1000 for one, (voxels, _) in having]
    extents = [np.multiply(box, one.spacing) for one, (_, box) in having]
    x, y, z = (round(float(side), 1) for side in np.median(extents, axis=0))
    shares = [voxels / math.prod(one.shape) for one, (voxels, _) in having]
    return Organ(
        len(having), round(float(np.median(volumes)), 2), (x, y, z), float(np.median(shares))
    )


def _percentiles(read: Sequence[_Seen]) -> dict[str, float]:
    drawn = [one.drawn for one in read if one.drawn is not None and len(one.drawn)]
    if not drawn:
        return {}
    low, middle, high = np.percentile(np.concatenate(drawn), [0.5, 50, 99.5])
    return {"0.5": float(low), "50": float(middle), "99.5": float(high)}


def _modality(named: str, read: Sequence[_Seen]) -> str:
    """CT if the data set says so, or says nothing and nearly every volume reaches down to air."""
    if named:
        return "CT" if named.upper().startswith("CT") else "other"
    like_ct = [LOWEST_HU < one.lowest < AIR_HU and one.highest < HIGHEST_HU for one in read]
    return "CT" if like_ct and np.mean(like_ct) > 0.9 else "other"


def _refuse(failed: Sequence[Outcome[_Look, _Seen]]) -> None:
    if not failed:
        return
    named = "; ".join(f"{one.item.case.case_id} ({one.error})" for one in failed[:SHOWN])
    more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    where = Path(first_path(failed[0].item.case.image)).parent
    raise InputError(where, "cases that can be read", f"{named}{more}", "see `medseg check`")


def _spread(values: np.ndarray) -> dict[str, list[float]]:
    """Least, median and most along each axis."""
    rows = {"least": values.min(0), "median": np.median(values, 0), "most": values.max(0)}
    return {name: [round(float(v), 4) for v in row] for name, row in rows.items()}
