import numpy as np
import pytest

from benchmarks.phantom_threshold import (
    EDGES,
    METHODS,
    interval_dice,
    largest_piece,
    thresholding,
)
from medseg.datasets import phantom


def test_dice_of_an_interval_is_that_of_its_mask():
    rng = np.random.default_rng(0)
    values = rng.integers(-150, 400, (6, 7, 8)).astype(np.int16)
    label = (rng.random((6, 7, 8)) < 0.2).astype(np.uint8)
    scores = interval_dice(values, label, 1)
    low, high = 20, 60
    mask = (values >= EDGES[low]) & (values < EDGES[high])
    both = (mask & (label == 1)).sum()
    assert scores[low, high] == pytest.approx(2 * both / (mask.sum() + (label == 1).sum()))
    assert interval_dice(values, label, 2) is None


def test_the_largest_piece_is_the_one_with_most_voxels():
    mask = np.array([1, 0, 1, 1, 1, 0, 1, 1], dtype=bool)[None, None]
    assert largest_piece(mask).ravel().tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert not largest_piece(np.zeros((2, 2, 2), dtype=bool)).any()


def test_no_interval_of_hu_separates_the_organs():
    pairs = [phantom.make_case(0, index, (64, 64, 24)) for index in range(12)]
    arrays = [(image.array, label.array) for image, label in pairs]
    for method in METHODS:
        found = thresholding(arrays[:8], arrays[8:], method)
        assert np.mean([score for _, score in found.values()]) < 0.35, method
