import numpy as np
import pytest
import scipy.ndimage
import torch

from medseg.networks.layers.grid import crop, pad_to_multiple, resize_positions


def test_padding_adds_zeros_at_bottom_and_right_only():
    padded = pad_to_multiple(torch.ones(1, 2, 5, 8), 4)
    assert padded.shape == (1, 2, 8, 8)
    assert padded[:, :, :5].all()
    assert not padded[:, :, 5:].any()


def test_an_image_that_fits_is_not_copied():
    image = torch.ones(1, 1, 8, 4)
    assert pad_to_multiple(image, 4) is image


def test_positions_of_the_same_grid_are_not_touched():
    positions = torch.randn(1, 6, 3)
    assert resize_positions(positions, (2, 3), (2, 3)) is positions


def test_a_grid_of_the_same_count_and_another_shape_is_resized():
    positions = torch.randn(1, 6, 3)
    assert not torch.equal(resize_positions(positions, (2, 3), (3, 2)), positions)


@pytest.mark.parametrize(
    ("grid", "new_grid"), [((3, 4), (5, 8)), ((4, 4), (2, 7)), ((2, 3, 2), (3, 3, 5))]
)
def test_positions_are_resized_as_scipy_zooms_them(grid, new_grid):
    positions = np.random.default_rng(0).random((*grid, 2))
    zoom = (*(new / old for new, old in zip(new_grid, grid, strict=True)), 1)
    expected = scipy.ndimage.zoom(positions, zoom, order=1)
    flat = torch.from_numpy(positions).flatten(0, -2)[None]
    resized = resize_positions(flat, grid, new_grid)
    np.testing.assert_allclose(resized[0], expected.reshape(-1, 2), atol=1e-12)


def test_cropping_takes_off_what_was_padded():
    image = torch.randn(1, 2, 5, 7, 3)
    assert torch.equal(crop(pad_to_multiple(image, 4), (5, 7, 3)), image)
