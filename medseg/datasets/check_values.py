"""What can be wrong with the numbers of an image and of its label."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from medseg.datasets.check_reading import Content
from medseg.datasets.problems import Problem

WIDE = 1 << 16
"""Whole numbers spread wider than this are sorted rather than counted."""


@dataclass(frozen=True)
class ImageFacts:
    """What one pass over an image found.

    Attributes:
        low: Smallest finite value.
        high: Largest finite value.
        nans: Voxels that are not a number.
        infinities: Voxels that are infinite.
        digest: Of the voxels; equal for equal images.
    """

    low: float
    high: float
    nans: int
    infinities: int
    digest: str


@dataclass(frozen=True)
class LabelFacts:
    """What one pass over a label map found.

    Attributes:
        counts: Whole value → voxels that have it.
        fractions: Voxels whose value is not whole, and an example.
        nans: Voxels that are not finite.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    fractions: int = 0
    example: float = 0.0
    nans: int = 0


def image_facts(array: np.ndarray) -> ImageFacts:
    """Look at every voxel once, slab by slab, so that no copy of the volume is made."""
    low, high, nans, infinities = np.inf, -np.inf, 0, 0
    digest = hashlib.blake2b(f"{array.shape}{array.dtype.str}".encode(), digest_size=16)
    for slab in np.moveaxis(array, -1, 0):
        digest.update(np.ascontiguousarray(slab.T).data)
        if array.dtype.kind == "f":
            finite = np.isfinite(slab)
            if not finite.all():
                nans += int(np.isnan(slab).sum())
                infinities += int(np.isinf(slab).sum())
                slab = slab[finite]  # noqa: PLW2901 - the voxels that are numbers
        if slab.size:
            low, high = min(low, float(slab.min())), max(high, float(slab.max()))
    return ImageFacts(low, high, nans, infinities, digest.hexdigest())


def label_facts(array: np.ndarray) -> LabelFacts:
    """Count the values of a label map, slab by slab."""
    counts: dict[int, int] = {}
    fractions, example, nans = 0, 0.0, 0
    for slab in np.moveaxis(array, -1, 0):
        values = slab
        if array.dtype.kind == "f":
            finite = np.isfinite(slab)
            whole = finite & (np.rint(slab) == slab)
            nans += int(slab.size - finite.sum())
            if not whole.all():
                broken = slab[finite & ~whole]
                fractions += broken.size
                example = float(broken[0]) if broken.size else example
            values = slab[whole].astype(np.int64)
        for value, count in _count(values):
            counts[value] = counts.get(value, 0) + count
    return LabelFacts(dict(sorted(counts.items())), fractions, example, nans)


def image_problems(content: Content, facts: ImageFacts) -> Iterator[Problem]:
    """What is wrong with the intensities of an image."""
    path, size = content.path, content.array.size
    if facts.nans:
        yield Problem("nan", path, "numbers", f"NaN in {facts.nans} of {size} voxels")
    if facts.infinities:
        got = f"infinity in {facts.infinities} of {size} voxels"
        yield Problem("infinity", path, "finite numbers", got)
    if facts.low == facts.high:
        yield Problem("constant-image", path, "an image", f"{facts.low:g} in every voxel")


def label_problems(
    content: Content, facts: LabelFacts, labels: Mapping[str, int]
) -> Iterator[Problem]:
    """What is wrong with the values of a label map."""
    path, size = content.path, content.array.size
    if facts.nans:
        got = f"NaN or infinity in {facts.nans} of {size} voxels"
        yield Problem("nan", path, "label values", got)
    if facts.fractions:
        got = f"{facts.fractions} voxels that are not, such as {facts.example:g}"
        yield Problem("label-not-integer", path, "whole label values", got)
    negative = {value: count for value, count in facts.counts.items() if value < 0}
    if negative:
        yield Problem("label-negative", path, "0 and positive values", _listed(negative))
    unknown = unknown_values(facts, labels)
    if unknown:
        names = ", ".join(f"{value} {name}" for name, value in labels.items())
        wanted = f"values of the label map (0 background, {names})"
        yield Problem("label-unknown-value", path, wanted, _listed(unknown))
    if facts.counts and not facts.counts.keys() - {0}:
        yield Problem("label-empty", path, "some organ", "background only")
    elif facts.counts and 0 not in facts.counts:
        yield Problem("label-no-background", path, "some background", "organs in every voxel")


def pair_problems(
    image: Content, label: Content, facts: ImageFacts, found: LabelFacts, labels: Mapping[str, int]
) -> Iterator[Problem]:
    """Whether image and label are each other, or the same."""
    if not labels or facts.low < 0 or facts.high > max(labels.values()):
        return
    if facts.low == facts.high:
        return
    held = label_facts(image.array)
    if held.fractions or held.nans or held.counts.keys() - {0, *labels.values()}:
        return
    wanted = "intensities"
    if image.array.shape == label.array.shape and np.array_equal(image.array, label.array):
        yield Problem("image-equals-label", image.path, wanted, "the same voxels as the label")
    elif found.fractions or unknown_values(found, labels):
        got = "label values, and intensities in the label"
        yield Problem("swapped", image.path, wanted, got)
    else:
        yield Problem("image-like-label", image.path, wanted, "label values only")


def unknown_values(facts: LabelFacts, labels: Mapping[str, int]) -> dict[int, int]:
    """Positive values that the label map does not name; none if it names nothing."""
    known = {0, *labels.values()}
    return {v: n for v, n in facts.counts.items() if labels and v > 0 and v not in known}


def _count(values: np.ndarray) -> Iterator[tuple[int, int]]:
    if not values.size:
        return
    low, high = int(values.min()), int(values.max())
    if high - low < WIDE:
        counts = np.bincount((values.astype(np.int64) - low).ravel())
        yield from ((int(v) + low, int(counts[v])) for v in np.flatnonzero(counts))
    else:
        unique, numbers = np.unique(values, return_counts=True)
        yield from zip(unique.tolist(), numbers.tolist(), strict=True)


def _listed(counts: Mapping[int, int]) -> str:
    shown = [f"{value} ({count} voxels)" for value, count in list(counts.items())[:5]]
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return "values " + ", ".join(shown) + more
