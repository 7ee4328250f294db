import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.datasets.check_values import image_facts, label_facts

INTEGERS = st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.int64])


@given(INTEGERS.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=3, max_dims=3))))
def test_counts_are_those_of_numpy_for_every_integer_type(array):
    values, counts = np.unique(array, return_counts=True)
    found = label_facts(array)
    assert found.counts == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert (found.fractions, found.nans) == (0, 0)


@given(hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(-3, 3, width=16) | st.just(np.nan)))
def test_a_float_label_is_split_into_whole_fractional_and_not_a_number(array):
    found = label_facts(array)
    whole = np.isfinite(array) & (array == np.round(array))
    assert sum(found.counts.values()) == whole.sum()
    assert found.nans == np.isnan(array).sum()
    assert found.fractions == array.size - whole.sum() - found.nans


def test_image_facts_of_a_small_image():
    array = np.array([[[1.0, np.nan], [np.inf, -3.0]]], dtype=np.float32)
    found = image_facts(array)
    assert (found.low, found.high, found.nans, found.infinities) == (-3.0, 1.0, 1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, bool])
def test_the_digest_tells_images_apart_and_not_memory_orders(dtype):
    array = np.random.default_rng(0).integers(0, 2, (4, 5, 6)).astype(dtype)
    same = image_facts(np.asfortranarray(array)).digest
    assert image_facts(array).digest == same
    assert image_facts(array[::-1]).digest != same
    assert image_facts(array.reshape(5, 4, 6)).digest != same
