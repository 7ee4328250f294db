"""What must not change a figure changes none, and what must scale it does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.metrics import METRICS, evaluate_case

SPACINGS = st.sampled_from([0.5, 0.75, 1.0, 1.25, 3.0])
LENGTHS = [key for key, metric in METRICS.items() if metric.unit == "mm"]
ORGANS = {"liver": 1, "spleen": 3, "both": (1, 3)}


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(rng.integers(1, 8, ndim).tolist())
    share = draw(st.sampled_from([0.03, 0.3, 0.9]))
    maps = [rng.choice([0, 1, 3], shape, p=[1 - share, share / 2, share / 2]) for _ in range(2)]
    order = draw(st.sampled_from("CF"))
    return [np.asarray(each, order=order) for each in maps], tuple(
        draw(SPACINGS) for _ in range(ndim)
    )


def check_same(one, other):
    assert list(one) == list(other)
    for organ in one:
        assert one[organ].status == other[organ].status
        assert one[organ].values == pytest.approx(dict(other[organ].values), rel=1e-9, nan_ok=True)


@settings(max_examples=40)
@given(cases())
def test_relabelling_changes_nothing(case):
    maps, spacing = case
    renamed = [np.select([each == 1, each == 3], [700, -2], 0) for each in maps]
    labels = {"liver": 700, "spleen": -2, "both": (700, -2)}
    check_same(evaluate_case(*maps, spacing, ORGANS), evaluate_case(*renamed, spacing, labels))


@settings(max_examples=40)
@given(cases(), st.integers(0, 2**32 - 1))
def test_translating_changes_nothing(case, seed):
    maps, spacing = case
    around = np.random.default_rng(seed).integers(0, 3, (maps[0].ndim, 2)).tolist()
    moved = [np.pad(each, around) for each in maps]
    check_same(evaluate_case(*maps, spacing, ORGANS), evaluate_case(*moved, spacing, ORGANS))


@settings(max_examples=40)
@given(cases(), st.data())
def test_mirroring_changes_nothing(case, data):
    maps, spacing = case
    axis = data.draw(st.integers(0, len(spacing) - 1))
    mirrored = [np.flip(each, axis) for each in maps]
    check_same(evaluate_case(*maps, spacing, ORGANS), evaluate_case(*mirrored, spacing, ORGANS))


@settings(max_examples=40)
@given(cases(), st.data())
def test_transposing_with_the_spacing_changes_nothing(case, data):
    maps, spacing = case
    axes = data.draw(st.permutations(range(len(spacing))))
    turned = [each.transpose(axes) for each in maps]
    steps = [spacing[axis] for axis in axes]
    check_same(evaluate_case(*maps, spacing, ORGANS), evaluate_case(*turned, steps, ORGANS))


@settings(max_examples=40)
@given(cases(), st.floats(0.05, 20))
def test_scaling_the_spacing_scales_every_distance(case, factor):
    maps, spacing = case
    larger = [length * factor for length in spacing]
    before = evaluate_case(*maps, spacing, ORGANS, metrics=LENGTHS)
    after = evaluate_case(*maps, larger, ORGANS, metrics=LENGTHS)
    for organ in before:
        scaled = {key: value * factor for key, value in before[organ].values.items()}
        assert after[organ].values == pytest.approx(scaled, rel=1e-9, nan_ok=True)


@settings(max_examples=40)
@given(cases(), st.lists(st.sampled_from(list(METRICS)), unique=True, min_size=1))
def test_a_subset_is_a_part_of_all(case, names):
    maps, spacing = case
    everything = evaluate_case(*maps, spacing, ORGANS)
    some = evaluate_case(*maps, spacing, ORGANS, metrics=names)
    for organ, figures in some.items():
        for key, value in figures.values.items():
            np.testing.assert_equal(value, everything[organ][key])


@settings(max_examples=40)
@given(cases())
def test_a_region_is_the_organ_that_the_union_would_be(case):
    maps, spacing = case
    union = [(each > 0).astype(np.uint8) for each in maps]
    ours = evaluate_case(*maps, spacing, {"all": [1, 3]})
    check_same(ours, evaluate_case(*union, spacing, {"all": 1}))
