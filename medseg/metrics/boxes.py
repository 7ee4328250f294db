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
    boxes = _by_slice(label_map, len(values)) if label_map.ndim == 3 else _numbered(label_map)
    return {int(values[number - 1]): boxes[number] for number in sorted(boxes)}


def _by_slice(label_map: np.ndarray, largest: int) -> dict[int, Box]:
    """Boxes of the values 1 to ``largest``, looking only where a slice is not empty."""
    ends: dict[int, list[int]] = {}
    for index, plane in enumerate(label_map):
        rows = np.flatnonzero(np.bitwise_or.reduce(plane, axis=1))
        if not len(rows):
            continue
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(np.bitwise_or.reduce(plane[top:bottom], axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        for value, (down, across) in _numbered(plane[top:bottom, left:right], largest).items():
            box = (top + down.start, left + across.start, top + down.stop, left + across.stop)
            known = ends.setdefault(value, [index, *box[:2], index + 1, *box[2:]])
            known[1:3] = min(known[1], box[0]), min(known[2], box[1])
            known[3:] = index + 1, max(known[4], box[2]), max(known[5], box[3])
    return {
        value: tuple(slice(start, stop) for start, stop in zip(end[:3], end[3:], strict=True))
        for value, end in ends.items()
    }


def _numbered(label_map: np.ndarray, largest: int = 0) -> dict[int, Box]:
    boxes = find_objects(label_map, largest)
    return {number: box for number, box in enumerate(boxes, 1) if box is not None}


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
