"""Everything the data-set check can say of one case alone, each of its files read once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medseg.case import Source
from medseg.datasets.check_geometry import geometry_problems, mismatch
from medseg.datasets.check_reading import Content, read_content
from medseg.datasets.check_values import (
    ImageFacts,
    LabelFacts,
    image_facts,
    image_problems,
    label_facts,
    label_problems,
    pair_problems,
)
from medseg.datasets.problems import Problem, first_path
from medseg.volumes import spacing_of


@dataclass(frozen=True)
class Task:
    """One case to examine, or a label without an image.

    Attributes:
        case_id: As in :class:`medseg.case.Case`; empty for a label without an image.
        image: Its file or slices, or None.
        label: Its file or slices, or None.
        labels: Organ → value that may occur.
        tolerance_mm: How far apart corners of image and label may lie.
    """

    case_id: str
    image: Source | None
    label: Source | None
    labels: Mapping[str, int]
    tolerance_mm: float


@dataclass(frozen=True)
class Examined:
    """What was found in one case.

    Attributes:
        case_id: As in the task.
        image: The image's file, for messages.
        problems: What is wrong with it.
        shape: Of the image, or of the label where there is none; empty if unreadable.
        spacing_mm: Along each axis.
        intensities: Smallest and largest finite value of the image.
        voxels: Label value → voxels.
        digest: Of the image's voxels; empty if it is unreadable or constant.
    """

    case_id: str
    image: str
    problems: tuple[Problem, ...] = ()
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    intensities: tuple[float, float] | None = None
    voxels: Mapping[int, int] = field(default_factory=dict)
    digest: str = ""

    def to_plain(self) -> dict[str, Any]:
        """As plain data for JSON; a spacing that is no number becomes null."""
        finite = all(np.isfinite(step) for step in self.spacing_mm)
        return {
            "case_id": self.case_id,
            "image": self.image,
            "shape": list(self.shape),
            "spacing_mm": list(self.spacing_mm) if finite else None,
            "intensities": list(self.intensities) if self.intensities else None,
            "voxels": {str(value): count for value, count in self.voxels.items()},
            "problems": len(self.problems),
        }


def examine(task: Task) -> Examined:
    """Read the files of a case and look for everything that is wrong with them."""
    with np.errstate(all="ignore"):  # broken headers hold numbers that cannot be cast
        return _examine(task)


def _examine(task: Task) -> Examined:
    problems: list[Problem] = []
    image, image_found = _examine_image(task, problems)
    label, label_found = _examine_label(task, problems)
    if image is not None and label is not None:
        problems += mismatch(image, label, task.tolerance_mm)
        if image_found is not None and label_found is not None:
            _compare(task, image, label, image_found, label_found, problems)
    content = image or label
    known = image_found is not None and image_found.low <= image_found.high
    return Examined(
        case_id=task.case_id,
        image="" if task.image is None else str(first_path(task.image)),
        problems=tuple(replace(problem, case_id=task.case_id) for problem in _once(problems)),
        shape=() if content is None else tuple(content.array.shape),
        spacing_mm=() if content is None else spacing_of(content.affine),
        intensities=(image_found.low, image_found.high) if image_found and known else None,
        voxels={} if label_found is None else label_found.counts,
        digest=image_found.digest if image_found and image_found.low < image_found.high else "",
    )


def _examine_image(task: Task, problems: list[Problem]) -> tuple[Content | None, ImageFacts | None]:
    if task.image is None:
        return None, None
    content = read_content(task.image, "image")
    if isinstance(content, Problem):
        problems.append(content)
        return None, None
    facts = image_facts(content.array)
    problems += geometry_problems(content)
    problems += image_problems(content, facts)
    return content, facts


def _examine_label(task: Task, problems: list[Problem]) -> tuple[Content | None, LabelFacts | None]:
    if task.label is None:
        return None, None
    content = read_content(task.label, "label")
    if isinstance(content, Problem):
        problems.append(content)
        return None, None
    facts = label_facts(content.array)
    problems += geometry_problems(content)
    problems += label_problems(content, facts, task.labels)
    return content, facts


def _compare(
    task: Task,
    image: Content,
    label: Content,
    image_found: ImageFacts,
    label_found: LabelFacts,
    problems: list[Problem],
) -> None:
    """Add whether image and label were mixed up; that explains strange label values."""
    mixed = list(pair_problems(image, label, image_found, label_found, task.labels))
    if any(problem.kind == "swapped" for problem in mixed):
        explained = {"label-unknown-value", "label-not-integer", "label-negative"}
        problems[:] = [problem for problem in problems if problem.kind not in explained]
    problems += mixed


def _once(problems: list[Problem]) -> list[Problem]:
    """Slices hold image and label in one file, whose faults are named once."""
    return list(dict.fromkeys(problems))
