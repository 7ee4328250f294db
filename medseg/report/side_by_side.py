"""The same slice of one case as several models have segmented it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.errors import InputError, MedsegError
from medseg.report.pictures import SlicePicture, crop, picture
from medseg.report.privacy import known_paths, only_names
from medseg.report.read import read_results
from medseg.report.scene import Scene, read_scene

REASON = "largest difference between the models"


@dataclass(frozen=True)
class CaseSideBySide:
    """One case.

    Attributes:
        case_id: Its name.
        figures: Model → its primary metric in this case.
        pictures: Model → the slice with its prediction.
        notices: What could not be shown, and why.
    """

    case_id: str
    figures: Mapping[str, float | None]
    pictures: dict[str, SlicePicture] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def side_by_side(
    case_id: str,
    results: Mapping[str, Path],
    figures: Mapping[str, float | None],
    colours: Mapping[str, str],
    folder: Path,
) -> CaseSideBySide:
    """Draw the axial slice in which the models differ most, once per model.

    A file that cannot be read becomes a notice, and the other models are drawn.

    Args:
        case_id: The case.
        results: Model → its ``results.json``.
        figures: Model → its primary metric in this case.
        colours: Organ → colour.
        folder: Where relative paths start.
    """
    look, scenes = CaseSideBySide(case_id, figures), {}
    for name, path in results.items():
        try:
            scenes[name] = _scene(case_id, folder / path, look.notices)
        except (MedsegError, OSError, ValueError, MemoryError) as error:
            said = only_names(str(error), {str(folder), str((folder / path).parent)})
            look.notices.append(f"{name} cannot be shown. {said}")
    shapes = {scene.classes.shape for scene in scenes.values()}
    if len(shapes) == 1:
        slice_index = most_disputed([scene.predicted for scene in scenes.values()])
        area = _common([crop(scene, [slice_index]) for scene in scenes.values()])
        for name, scene in scenes.items():
            look.pictures[name] = picture(scene, slice_index, [REASON], area, colours)
    elif shapes:
        look.notices.append("The models' label maps of this case lie on different grids.")
    look.notices[:] = list(dict.fromkeys(look.notices))
    return look


def most_disputed(predictions: Sequence[np.ndarray]) -> int:
    """The axial slice in which most voxels are not the same class for all; arrays (X, Y, Z)."""
    first = predictions[0]
    disputed = np.zeros(first.shape, bool)
    for other in predictions[1:]:
        disputed |= first != other
    counts = disputed.sum(axis=(0, 1))
    return int(counts.argmax() if counts.any() else (first > 0).sum(axis=(0, 1)).argmax())


def _scene(case_id: str, path: Path, notices: list[str]) -> Scene:
    content = read_results(path)
    cases = [case for case in content["cases"] if case["case_id"] == case_id]
    if not cases:
        raise InputError(path, f"the case {case_id!r}", "results without it")
    said: list[str] = []
    scene = read_scene(cases[0], content["labels"], path.parent, said)
    paths = known_paths(content, path) | {str(path.parent)}
    notices.extend(only_names(notice, paths) for notice in said)
    return scene


def _common(areas: Sequence[tuple[slice, slice]]) -> tuple[slice, slice]:
    x, y = (
        slice(min(area[axis].start for area in areas), max(area[axis].stop for area in areas))
        for axis in (0, 1)
    )
    return x, y
