import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path

from medseg.volumes.contours import outlines


def filled(polygons, shape):
    """Pixels whose centre lies in an odd number of polygons, by matplotlib."""
    rows, columns = np.indices(shape)
    centres = np.column_stack([columns.ravel(), rows.ravel()])
    inside = np.zeros(len(centres), bool)
    for polygon in polygons:
        inside ^= Path(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(centres)
    return inside.reshape(shape)


def test_one_pixel_has_a_diamond_around_its_centre():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (polygon,) = outlines(mask)
    assert {tuple(point) for point in polygon} == {(2.5, 2), (3, 1.5), (3.5, 2), (3, 2.5)}


def test_a_ring_is_one_polygon_with_a_keyhole():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (polygon,) = outlines(mask)
    assert np.array_equal(filled([polygon], mask.shape), mask)


def test_an_empty_slice_has_none():
    assert outlines(np.zeros((3, 3), bool)) == []


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_filling_the_outlines_gives_the_mask_back(mask):
    polygons = outlines(mask)
    assert np.array_equal(filled(polygons, mask.shape), mask)


@pytest.mark.parametrize("density", [0.3, 0.6, 0.9])
def test_filling_gives_large_ragged_masks_back(density):
    mask = np.random.default_rng(1).random((60, 70)) < density
    assert np.array_equal(filled(outlines(mask), mask.shape), mask)
