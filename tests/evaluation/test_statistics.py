import time

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.statistics import confidence, confidence_of_mean, resampled_means

NAN = float("nan")


def test_resampled_means_are_those_of_the_cases_drawn():
    values = np.array([[1.0, NAN], [2.0, 5.0], [4.0, NAN]])
    means = resampled_means(values, resamples=500, seed=3)
    drawn = np.random.default_rng(3).integers(3, size=(500, 3))
    np.testing.assert_allclose(means[:, 0], values[drawn, 0].mean(axis=1))
    without = ~(drawn == 1).any(axis=1)  # the only case with a figure was not drawn
    assert np.isnan(means[without, 1]).all()
    assert (means[~without, 1] == 5.0).all()


def test_agrees_with_the_bca_interval_of_scipy():
    values = np.random.default_rng(0).beta(8, 2, (40, 3))
    low, high = confidence(values, resamples=20_000)
    for column in range(3):
        wanted = stats.bootstrap((values[:, column],), np.mean, n_resamples=20_000, rng=1)
        width = wanted.confidence_interval.high - wanted.confidence_interval.low
        assert low[column] == pytest.approx(wanted.confidence_interval.low, abs=0.03 * width)
        assert high[column] == pytest.approx(wanted.confidence_interval.high, abs=0.03 * width)


@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_the_interval_holds_the_true_mean_in_about_95_percent_of_studies(draw):
    rng = np.random.default_rng(1)
    shape = (50, 2000)  # every column is a study of its own
    values = rng.normal(0, 1, shape) if draw == "normal" else rng.beta(6, 1.5, shape)
    mean = 0.0 if draw == "normal" else 6 / 7.5
    values[rng.random(shape) < 0.1] = NAN
    low, high = confidence(values, resamples=2000)
    assert 0.93 <= ((low <= mean) & (mean <= high)).mean() <= 0.96


def test_the_interval_of_the_mean_over_organs_holds_the_true_one():
    rng, inside = np.random.default_rng(2), 0
    for _ in range(200):
        values = (
            np.array([0.7, 0.8, 0.9]) + rng.normal(0, 0.05, (40, 3)) + rng.normal(0, 0.05, (40, 1))
        )
        values[rng.random(values.shape) < 0.2] = NAN
        low, high = confidence_of_mean(values, resamples=500)
        inside += low <= 0.8 <= high
    assert 0.90 <= inside / 200 <= 0.99


def test_one_column_has_the_same_interval_either_way_and_beside_others():
    values = np.random.default_rng(0).beta(8, 2, (30, 4))
    low, high = confidence(values)
    assert confidence_of_mean(values[:, :1]) == pytest.approx((low[0], high[0]))
    alone = confidence(values[:, 2:3])
    assert (alone[0][0], alone[1][0]) == pytest.approx((low[2], high[2]))


def test_a_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).beta(8, 2, (30, 2))
    np.testing.assert_array_equal(confidence(values, seed=5), confidence(values, seed=5))
    assert (confidence(values, seed=5)[0] != confidence(values, seed=6)[0]).all()


def test_a_wider_level_is_a_wider_interval():
    values = np.random.default_rng(0).beta(8, 2, (30, 2))
    low, high = confidence(values, level=0.9)
    lower, higher = confidence(values, level=0.99)
    assert (lower < low).all()
    assert (higher > high).all()


def test_what_does_not_vary_has_no_width_and_what_is_one_case_no_interval():
    values = np.array([[0.3, 0.7, NAN], [0.3, NAN, NAN], [0.3, NAN, NAN]])
    low, high = confidence(values)
    assert low[0] == high[0] == pytest.approx(0.3)
    assert np.isnan([low[1:], high[1:]]).all()
    assert np.isnan(confidence_of_mean(values[:, 2:])).all()
    assert confidence(np.zeros((0, 2)))[0].shape == (2,)
    assert np.isnan(confidence(np.zeros((0, 2)))[0]).all()


def test_two_cases_give_an_interval_between_them():
    (low,), (high,) = confidence(np.array([[0.2], [0.6]]))
    assert 0.2 <= low < high <= 0.6


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.ones(3), {}, r"\(cases, columns\), got \(3,\)"),
        (np.array([[np.inf]]), {}, "infinities"),
        (np.ones((3, 1)), {"resamples": 0}, "got 0 and 0.95"),
        (np.ones((3, 1)), {"level": 95}, "got 10000 and 95"),
    ],
)
def test_what_makes_no_sense_is_refused(values, options, said):
    with pytest.raises(ValueError, match=said):
        confidence(values, **options)


def test_a_hundred_cases_and_thirteen_organs_of_two_models_take_no_five_seconds():
    values = np.random.default_rng(0).beta(8, 2, (100, 26))
    start = time.process_time()
    confidence(values, resamples=10_000)
    assert time.process_time() - start < 5
