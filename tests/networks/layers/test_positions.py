import itertools

import pytest
import torch

from medseg.networks.layers.positions import (
    added_positions,
    position_table,
    relative_bias,
)


@pytest.mark.parametrize("grid", [(2, 3), (3, 1), (2, 2, 3)])
def test_the_bias_between_two_tokens_is_that_of_their_offset(grid):
    offsets = [tuple(range(-(size - 1), size)) for size in grid]
    places = {offset: index for index, offset in enumerate(itertools.product(*offsets))}
    table = position_table("relative", grid, channels=8, num_heads=2, extra_tokens=0)
    assert table.shape == (2, len(places))
    table = torch.arange(table.numel(), dtype=torch.float32).view_as(table)
    bias = relative_bias(table, grid=grid, new_grid=grid, extra_tokens=1)
    tokens = list(itertools.product(*map(range, grid)))
    assert bias.shape == (1, 2, len(tokens) + 1, len(tokens) + 1)
    for (i, one), (j, other) in itertools.product(enumerate(tokens), enumerate(tokens)):
        offset = tuple(a - b for a, b in zip(one, other, strict=True))
        assert bias[0, 1, i + 1, j + 1] == table[1, places[offset]]
    assert not bias[..., 0].any()
    assert not bias[..., 0, :].any()


def test_a_bias_that_grows_with_the_offset_still_does_on_another_grid():
    table = torch.arange(-3.0, 4.0)[None]  # one head, grid (4,) as (1, 4)
    bias = relative_bias(table, grid=(1, 4), new_grid=(1, 7), extra_tokens=0)[0, 0]
    places = torch.arange(7.0)
    torch.testing.assert_close(bias, (places[:, None] - places[None]) / 2)


def test_class_tokens_keep_their_own_embedding_when_the_grid_is_resized():
    table = torch.randn(1, 2 + 6, 4)
    added = added_positions(
        "learned_1d", table, grid=(2, 3), new_grid=(4, 6), extra_tokens=2, channels=4
    )
    assert torch.equal(added[:, :2], table[:, :2])
    assert torch.equal(added[0, 2], table[0, 2])  # corners are aligned
    assert torch.equal(added[0, -1], table[0, -1])


def test_rows_and_columns_of_another_grid_are_resized_each_for_itself():
    table = torch.cat([torch.tensor([0.0, 2.0]), torch.tensor([5.0, 6.0, 7.0])]).view(1, 5, 1)
    added = added_positions(
        "learned_2d", table, grid=(2, 3), new_grid=(3, 3), extra_tokens=1, channels=2
    )
    assert added.shape == (1, 10, 2)
    assert not added[0, 0].any()
    places = added[0, 1:].view(3, 3, 2)
    assert places[:, 0, 0].tolist() == [0, 1, 2]
    assert places[1, :, 1].tolist() == [5, 6, 7]


def test_sines_of_neighbours_are_more_alike_than_those_of_distant_places():
    places = added_positions(
        "sincos", None, grid=(1, 9), new_grid=(1, 9), extra_tokens=0, channels=32
    )[0]
    products = places[0] @ places.T
    assert products[0] == products.max()
    assert products[1] > products[4] > products[8]
