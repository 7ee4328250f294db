"""Label, prediction and image of one case, read from the files that the results name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError, MedsegError
from medseg.report.anatomy import (
    Oriented,
    check_same_grid,
    class_map,
    grey_window,
    organ_mask,
    to_ras,
)
from medseg.volumes import read_volume


@dataclass(frozen=True)
class Scene:
    """What there is to draw of one case, all on one grid in RAS order.

    Attributes:
        truth: The label file.
        prediction: The predicted label map, same shape.
        truth_values: Organ → its values in the label file; none if it was not compared.
        predicted_values: The same for the prediction.
        classes: Classes of the reference, shape (X, Y, Z); class k is the k-th organ.
        predicted: Classes of the prediction, same shape.
        image: The scan, same shape, or ``None``.
        window: The intensities shown as black and white.
        window_note: How they were chosen.
    """

    truth: Oriented
    prediction: Oriented
    truth_values: Mapping[str, Sequence[int]]
    predicted_values: Mapping[str, Sequence[int]]
    classes: np.ndarray
    predicted: np.ndarray
    image: np.ndarray | None
    window: tuple[float, float]
    window_note: str


def read_scene(
    case: Mapping[str, Any], labels: Mapping[str, Any], folder: Path, notices: list[str]
) -> Scene:
    """Read label, prediction and image of one case.

    Args:
        case: Its entry in ``results.json``; ``label_values``, if it is there, says what the
            values of the label file mean where they are not those of the prediction.
        labels: Organ → value, or values of a region, in the prediction.
        folder: Where relative paths start.
        notices: Takes what could not be read or does not fit, in words.

    Raises:
        InputError: If label or prediction cannot be used; a missing image is only noted.
    """
    label_path, prediction_path = (
        _source(case, "label", folder),
        _source(case, "prediction", folder),
    )
    truth = to_ras(read_volume(label_path, "label"))
    prediction = to_ras(read_volume(prediction_path, "label"))
    check_same_grid(truth.array, prediction.array, ("label", "prediction"), str(prediction_path))
    compared = [organ for organ in labels if organ in case["organs"]]
    predicted_values = {organ: _values(labels[organ], organ in compared) for organ in labels}
    own = case.get("label_values") or labels
    truth_values = {organ: _values(own.get(organ, -1), organ in compared) for organ in labels}
    for array, values, name, key in (
        (truth.array, truth_values, "label", "volume_label_ml"),
        (prediction.array, predicted_values, "prediction", "volume_pred_ml"),
    ):
        changed = _other_volumes(array, values, case["organs"], key, truth.spacing)
        if changed:
            notices.append(
                f"The {name} file does not hold the volumes that were evaluated "
                f"({', '.join(changed)}): it has changed since, or its values mean other organs."
            )
    image, window, note = _read_image(case, truth, folder, notices)
    return Scene(
        truth,
        prediction,
        truth_values,
        predicted_values,
        classes=class_map(truth.array, truth_values),
        predicted=class_map(prediction.array, predicted_values),
        image=image,
        window=window,
        window_note=note,
    )


def _read_image(
    case: Mapping[str, Any], truth: Oriented, folder: Path, notices: list[str]
) -> tuple[np.ndarray | None, tuple[float, float], str]:
    """The image on the grid of the label with its grey window; none, and a notice, if unusable."""
    try:
        path = _source(case, "image", folder)
        image = to_ras(read_volume(path, "image")).array
        check_same_grid(truth.array, image, ("label", "image"), str(path))
        return image, *grey_window(image)
    except (MedsegError, OSError, ValueError) as error:
        notices.append(f"The image is not shown, only the contours. {error}")
        return None, (0.0, 1.0), "no image"


def _values(value: int | Sequence[int], compared: bool) -> tuple[int, ...]:
    """The label values of an organ that was compared; a region has several."""
    if not compared:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def _other_volumes(
    array: np.ndarray,
    values: Mapping[str, Sequence[int]],
    organs: Mapping[str, Mapping[str, Any]],
    key: str,
    spacing: tuple[float, float, float],
) -> list[str]:
    """The organs whose volume in the file is not the one in the results."""
    voxel_ml = float(np.prod(spacing)) / 1000
    known = {organ: organs[organ].get(key) for organ, own in values.items() if own}
    return [
        organ
        for organ, volume in known.items()
        if volume is not None
        and abs(volume - np.count_nonzero(organ_mask(array, values[organ])) * voxel_ml)
        > 0.01 * volume + voxel_ml
    ]


def _source(case: Mapping[str, Any], key: str, folder: Path) -> Path | tuple[Path, ...]:
    value = case.get(key)
    if isinstance(value, list) and value:
        return tuple(folder / str(part) for part in value)
    if not isinstance(value, str) or not value:
        raise InputError(folder / "results.json", f"the path of the {key}", "none")
    return folder / value
