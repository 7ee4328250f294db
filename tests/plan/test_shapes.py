import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.datasets.fingerprint import Fingerprint
from medseg.plan.networks import attention_for
from medseg.plan.shapes import (
    choose_dims,
    choose_epochs,
    choose_grid,
    choose_strides,
    largest_batch,
    largest_within,
    multiple_of,
    patches,
)


def fingerprint(shape, spacing, cases=20):
    return Fingerprint([shape] * cases, [spacing] * cases, "CT", {}, {}, cases)


def test_small_cubes_keep_their_spacing_and_are_halved_alike():
    grid = choose_grid(fingerprint((35, 50, 36), (1.0, 1.0, 1.0)))
    assert grid.spacing.value == [1.0, 1.0, 1.0]
    assert "the same in 20 cases" in grid.spacing.why
    assert (grid.shape, grid.thick) == ((35, 50, 36), None)
    strides = choose_strides(grid, 3).value
    assert strides == [[2, 2, 2]] * 3
    assert multiple_of(strides) == (8, 8, 8)
    assert patches(grid.shape, (8, 8, 8))[0] == (40, 56, 40)
    assert choose_dims(grid)[0] == 3


def test_a_thick_axis_waits_until_the_others_are_as_coarse():
    grid = choose_grid(fingerprint((512, 512, 90), (0.75, 0.75, 5.0)))
    assert grid.thick == 2
    # 0.75 → 1.5 → 3 mm: now 5 mm is less than twice as coarse, and all are halved
    assert choose_strides(grid, 4).value == [[2, 2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2]]
    assert choose_dims(grid)[0] == 3


def test_a_thick_axis_is_resampled_to_a_low_percentile_of_its_spacings():
    thickness = [2.5] * 2 + [5.0] * 18
    spacings = [(0.8, 0.8, each) for each in thickness]
    grid = choose_grid(Fingerprint([(512, 512, 100)] * 20, spacings, "CT", {}, {}, 20))
    assert grid.spacing.value == [0.8, 0.8, pytest.approx(4.75)]  # between the 2nd and 3rd of 20
    assert "10th percentile along the thick axis" in grid.spacing.why
    assert grid.shape[2] == pytest.approx(100 * 5 / 4.75, abs=1)


def test_few_slices_or_very_thick_ones_ask_for_2d():
    heart = choose_grid(fingerprint((216, 256, 10), (1.5, 1.5, 10.0)))
    flat = choose_grid(fingerprint((512, 512, 40), (0.5, 0.5, 5.0)))
    assert choose_dims(heart) == (2, "the median volume has 10 slices, fewer than 16")
    assert choose_dims(flat) == (2, "slices are 10 times as far apart as pixels")


def test_slices_are_no_choice_where_another_axis_is_thick():
    coronal = choose_grid(fingerprint((256, 10, 256), (1.0, 12.0, 1.0)))
    assert choose_dims(coronal)[0] == 3


def test_an_axis_too_short_is_left_alone():
    grid = choose_grid(fingerprint((64, 64, 6), (1.0, 1.0, 1.0)))
    assert choose_strides(grid, 3).value == [[2, 2, 1]] * 3


def test_a_huge_ct_shrinks_in_its_own_shape():
    sizes = patches((512, 512, 256), (16, 16, 16))
    assert sizes[0] == (512, 512, 256)
    assert sizes[-1] == (32, 32, 32)
    middle = sizes[len(sizes) // 2]
    assert middle[0] == middle[1]
    assert middle[0] / middle[2] == pytest.approx(2, rel=0.15)


sides = st.tuples(*[st.integers(1, 400)] * 3)
spacings = st.tuples(*[st.floats(0.2, 12)] * 3)


@given(shape=sides, spacing=spacings, most=st.integers(1, 5))
def test_patches_are_multiples_of_the_strides_and_each_lies_within_the_last(shape, spacing, most):
    grid = choose_grid(fingerprint(shape, spacing))
    multiple = multiple_of(choose_strides(grid, most).value)
    sizes = patches(grid.shape, multiple)
    for size in sizes:
        assert all(side % step == 0 for side, step in zip(size, multiple, strict=True))
    for large, small in itertools.pairwise(sizes):
        assert sum(a - b for a, b in zip(large, small, strict=True)) in multiple
        assert all(a >= b for a, b in zip(large, small, strict=True))
    assert all(side < size + step for side, size, step in zip(sizes[0], grid.shape, multiple,
                                                              strict=True))  # fmt: skip


@given(shape=sides, limits=st.tuples(st.floats(1e3, 1e9), st.floats(1e3, 1e9)))
def test_more_memory_never_gives_a_smaller_patch(shape, limits):
    sizes = patches(shape, (8, 8, 8))
    less, more = (largest_within(sizes, math.prod, limit) for limit in sorted(limits))
    fitting = [size for size in sizes if math.prod(size) <= min(limits)]
    assert less == (fitting[0] if fitting else None)
    if less is not None:
        assert all(a <= b for a, b in zip(less, more, strict=True))


def test_a_batch_is_a_small_share_of_the_data_set():
    found = fingerprint((40, 50, 40), (1.0, 1.0, 1.0), cases=100)
    assert largest_batch(40 * 50 * 40, found, least=2, most=16) == 5  # a twentieth of 100
    assert largest_batch(40 * 50 * 40, found, least=2, most=3) == 3
    assert largest_batch(80 * 100 * 40, found, least=2, most=16) == 2


def test_iterations_follow_from_the_number_of_cases():
    length, epochs = choose_epochs(num_cases=100, draws=40, batch_size=4)
    assert length.value * epochs.value == 1000
    assert epochs.why == "1000 iterations: 100 cases, each drawn from about 40 times"


def test_attention_is_dense_for_few_tokens_alone():
    assert attention_for((40, 56, 40), [[2, 2, 2]] * 3) == "dense"  # 5 · 7 · 5
    assert attention_for((96, 96, 96), [[2, 2, 2]] * 3) == "windowed"  # 1728
    assert attention_for((96, 96, 96), [[2, 2, 2]] * 4) == "dense"  # 216
