"""Where each value of a label map lies, found in one pass."""

import numpy as np
from scipy.ndimage import find_objects

Box = tuple[slice, ...]
LARGEST_DIRECT = 65_535  # ``find_objects`` keeps one entry for every value up to the largest


def bounding_boxes(label_map: np.ndarray) -> dict[int, Box]:
    """The smallest box around each value of a label map but 0, in ascending order of values.

    Args:
        label_map: Integers of any type, or floats that hold whole numbers; any shape. Values
            may be large, negative or far apart.

    Raises:
        ValueError: If a value is no whole number.
    """
    label_map = as_integers(label_map)
    if not label_map.size:
        return {}
    if label_map.flags.f_contiguous and not label_map.flags.c_contiguous:
        return {value: box[::-1] for value, box in bounding_boxes(label_map.T).items()}
    if label_map.min() < 0 or label_map.max() > LARGEST_DIRECT:
        values, label_map = _renumber(label_map)
    else:
        values = np.arange(1, int(label_map.max()) + 1)
    boxes = find_objects(label_map, len(values))
    return {int(value): box for value, box in zip(values, boxes, strict=True) if box is not None}


def as_integers(label_map: np.ndarray) -> np.ndarray:
    """The same label map in an integer type.

    Raises:
        ValueError: If a value is no whole number.
    """
    if label_map.dtype == bool:
        return label_map.view(np.uint8)
    if label_map.dtype.kind in "iu":
        return label_map
    if label_map.dtype.kind != "f":
        raise ValueError(f"a label map must hold whole numbers, got type {label_map.dtype}")
    broken = (label_map != np.rint(label_map)) | np.isinf(label_map)
    if broken.any():
        raise ValueError(f"a label map must hold whole numbers, got {label_map[broken][0]}")
    return label_map.astype(np.int32 if np.abs(label_map).max(initial=0) < 2**31 else np.int64)


def _renumber(label_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, 0 apart, and the map with the k-th of them written as k + 1."""
    foreground = label_map != 0
    values, positions = np.unique(label_map[foreground], return_inverse=True)
    renumbered = np.zeros(label_map.shape, dtype=np.int32)
    renumbered[foreground] = positions + 1
    return values, renumbered
