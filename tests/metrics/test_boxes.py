import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.metrics.boxes import bounding_boxes


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 2), (3, 250), (5, 500, 65_536), (-4, 2)]),
    st.sampled_from("CF"),
)
def test_boxes_are_those_found_by_looking_at_every_voxel(seed, values, order):
    rng = np.random.default_rng(seed)
    label_map = rng.choice([0] * 40 + list(values), size=(4, 5, 6)).astype(np.int64, order=order)
    expected = {}
    for value in sorted(set(label_map.ravel().tolist()) - {0}):
        places = np.argwhere(label_map == value)
        ends = zip(places.min(axis=0), places.max(axis=0) + 1, strict=True)
        expected[value] = tuple(slice(int(low), int(high)) for low, high in ends)
    assert bounding_boxes(label_map) == expected


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_a_map_of_background_or_of_nothing_has_no_box(dtype):
    assert bounding_boxes(np.zeros((3, 3, 3), dtype=dtype)) == {}
    assert bounding_boxes(np.zeros((0, 3), dtype=dtype)) == {}


def test_infinity_and_text_are_no_label_values():
    with pytest.raises(ValueError, match="whole numbers, got inf"):
        bounding_boxes(np.array([0.0, np.inf]))
    with pytest.raises(ValueError, match="whole numbers, got type"):
        bounding_boxes(np.array(["liver"]))
