import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import UsageError
from medseg.loading.geometry import SliceGeometry

sizes = st.tuples(st.integers(1, 600), st.integers(1, 600))


def test_stretching_512_to_224_takes_pixel_0_from_the_middle_of_the_first_16_sevenths():
    matrix = SliceGeometry((224, 224)).matrix((512, 512))
    step = 512 / 224
    np.testing.assert_allclose(matrix, [[step, 0, step / 2 - 0.5], [0, step, step / 2 - 0.5]])


def test_zoom_two_shows_half_a_pixel_per_pixel_around_the_centre():
    matrix = SliceGeometry((9, 9), zoom=2.0).matrix((3, 3))
    np.testing.assert_allclose(matrix @ [4, 4, 1], [1, 1])
    np.testing.assert_allclose(matrix @ [6, 2, 1], [2, 0])


def test_a_slice_too_large_is_shrunk_until_its_longer_side_fits():
    matrix = SliceGeometry((100, 100), zoom=1.0).matrix((400, 200))
    np.testing.assert_allclose(np.diag(matrix), [4, 4])


@given(image_size=sizes, slice_shape=sizes, zoom=st.none() | st.floats(0.1, 10))
def test_centre_shows_centre_within_half_a_pixel_at_zoom_one_and_exactly_elsewhere(
    image_size, slice_shape, zoom
):
    matrix = SliceGeometry(image_size, zoom=zoom).matrix(slice_shape)
    centre = [(image_size[0] - 1) / 2, (image_size[1] - 1) / 2, 1]
    apart = matrix @ centre - (np.asarray(slice_shape) - 1) / 2
    copied = np.diag(matrix) == 1
    assert np.all(np.abs(apart) <= np.where(copied, 0.5, 1e-9))
    assert np.all(matrix[copied, 2] % 1 == 0)


def test_neighbours_are_repeated_at_the_ends():
    geometry = SliceGeometry((8, 8), neighbours=2)
    assert geometry.channels == 5
    assert geometry.slice_indices(0, 4) == [0, 0, 0, 1, 2]
    assert geometry.slice_indices(3, 4) == [1, 2, 3, 3, 3]


@pytest.mark.parametrize(
    "arguments",
    [
        {"image_size": (0, 8)},
        {"image_size": (8, 8), "zoom": 0.0},
        {"image_size": (8, 8), "neighbours": -1},
    ],
)
def test_senseless_numbers_are_refused(arguments):
    with pytest.raises(UsageError):
        SliceGeometry(**arguments)
