import torch

from medseg.networks.layers.grid import pad_to_multiple, resize_positions


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


def test_positions_that_grow_along_columns_still_do_after_resizing():
    columns = torch.arange(4.0).expand(3, 4).reshape(1, 12, 1)
    resized = resize_positions(columns, (3, 4), (5, 8)).view(5, 8)
    expected = ((torch.arange(8.0) + 0.5) / 2 - 0.5).clamp(0, 3)  # pixel centres, edges held
    torch.testing.assert_close(resized, expected.expand(5, 8))
