import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.paired import paired, ranking, significant, with_mean
from medseg.evaluation.significance import wilcoxon
from medseg.evaluation.statistics import confidence
from tests.evaluation.results import shares

NAN = float("nan")
DSC = {"higher_is_better": True, "tolerance": 0.001}


def reports_a_difference(differences, alpha=0.05):
    """The verdict of a comparison by one metric."""
    ((_, reported),) = significant([wilcoxon(with_mean(differences))[0][None]], alpha)
    return reported.any()


def test_equal_models_are_said_to_differ_in_one_of_twenty_comparisons():
    rng = np.random.default_rng(2024)
    found = sum(
        reports_a_difference(shares(rng, 100, 13) - shares(rng, 100, 13)) for _ in range(2000)
    )
    assert 0.04 <= found / 2000 <= 0.06


@pytest.mark.slow
def test_so_they_are_by_several_metrics_three_models_and_misses():
    rng, found = np.random.default_rng(7), 0
    for _ in range(2000):
        models = [shares(rng, 60, 8) for _ in range(3)]
        for own in models:
            own[rng.random(own.shape) < 0.02] = 0.0  # missed
        distances = [20 * (1 - own) + np.abs(rng.normal(0, 2, own.shape)) for own in models]
        families = [
            np.stack([wilcoxon(with_mean(other - metric[0]))[0] for other in metric[1:]])
            for metric in (models, distances)
        ]
        found += any(reported.any() for _, reported in significant(families, 0.05))
    assert 0.035 <= found / 2000 <= 0.06


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    found = sum(
        reports_a_difference(shares(rng, 100, 13, shift=0.15) - shares(rng, 100, 13))
        for _ in range(100)
    )
    assert found >= 95


def test_figures_of_differences_by_hand():
    differences = np.array([[0.2, NAN], [0.0, 0.1], [-0.1, NAN], [0.0005, NAN], [0.001, NAN]])
    found = paired(differences, **DSC)
    assert found.n.tolist() == [5, 1]
    np.testing.assert_allclose(found.mean, [0.1015 / 5, 0.1])
    np.testing.assert_allclose(found.median, [0.0005, 0.1])
    assert (found.wins.tolist(), found.ties.tolist(), found.losses.tolist()) == (
        [2, 1], [2, 0], [1, 0],
    )  # fmt: skip
    assert found.low[0] < found.mean[0] < found.high[0]
    assert np.isnan([found.low[1], found.high[1]]).all()
    assert found.p[1] == 1.0


def test_where_less_is_better_a_negative_difference_wins():
    found = paired(np.array([[-3.0], [-0.005], [2.0]]), higher_is_better=False, tolerance=0.01)
    assert (found.wins[0], found.ties[0], found.losses[0]) == (1, 1, 1)
    assert found.effect[0] == pytest.approx((-3 - 1 + 2) / 6)


def test_the_interval_is_that_of_the_mean_difference():
    differences = np.random.default_rng(0).normal(0, 1, (20, 3))
    found = paired(differences, **DSC, seed=4)
    np.testing.assert_array_equal([found.low, found.high], confidence(differences, seed=4))


def test_models_that_are_equal_or_have_nothing_in_common_differ_in_nothing():
    found = paired(np.array([[0.0, NAN]] * 3), **DSC)
    np.testing.assert_array_equal(found.p, [1.0, NAN])
    assert found.n.tolist() == found.ties.tolist() == [3, 0]
    np.testing.assert_array_equal([found.low[0], found.high[0], found.mean[0]], 0.0)
    assert np.isnan([found.mean[1], found.median[1], found.low[1], found.effect[1]]).all()


def test_the_mean_over_organs_is_that_of_each_case():
    values = with_mean(np.array([[1.0, 0.5], [NAN, 0.5], [NAN, NAN]]))
    np.testing.assert_array_equal(values[:, -1], [0.75, 0.5, NAN])


def test_holm_runs_over_all_models_and_the_first_metric_opens_the_others():
    first = np.array([[0.01, 0.2], [0.03, 0.9]])  # 4 tests: 0.01·4 = 0.04, 0.03·3 = 0.09
    second = np.array([[0.001, 0.5], [0.001, 0.5]])
    (one, reported), (other, opened) = significant([first, second], alpha=0.05)
    np.testing.assert_allclose(one, [[0.04, 0.4], [0.09, 0.9]])
    np.testing.assert_allclose(other, [[0.004, 1.0], [0.004, 1.0]])
    assert reported.tolist() == [[True, False], [False, False]]
    assert opened.tolist() == [[True, False], [False, False]]


def test_what_was_not_tested_is_never_significant():
    ((p, reported),) = significant([np.array([[NAN, 0.01]])], alpha=0.05)
    np.testing.assert_array_equal(p, [[NAN, 0.01]])
    assert reported.tolist() == [[False, True]]


def test_ranks_and_their_stability():
    rng = np.random.default_rng(0)
    base = rng.normal(0.8, 0.05, 50)
    figures = np.column_stack([base, base + 0.1, base + rng.normal(0, 0.05, 50)])
    found = ranking(figures, higher_is_better=True)
    assert found.rank[1] == 1
    assert found.first.tolist() == [0, 1, 0]
    assert found.mean_rank[1] == 1
    assert found.mean_rank.sum() == pytest.approx(6)
    swaps = 1 - found.unchanged  # only the first and the last model can change places
    assert 0 < swaps < 1
    assert found.tau == pytest.approx(1 - 2 * swaps / 3)
    reverse = ranking(-figures, higher_is_better=False)
    np.testing.assert_array_equal(reverse.rank, found.rank)
    np.testing.assert_array_equal(reverse.first, found.first)


def test_tau_is_that_of_scipy():
    figures = np.random.default_rng(3).normal(0, 1, (7, 5))
    found = ranking(figures, higher_is_better=True, resamples=200, seed=1)
    drawn = np.random.default_rng(1).integers(7, size=(200, 7))
    taus = [stats.kendalltau(-figures[cases].mean(axis=0), found.rank)[0] for cases in drawn]
    assert found.tau == pytest.approx(np.mean(taus))


def test_equal_models_share_the_first_rank():
    found = ranking(np.full((4, 2), 0.5), higher_is_better=True)
    assert found.rank.tolist() == [1.5, 1.5]
    assert found.first.tolist() == [0.5, 0.5]
    assert found.unchanged == 1.0


def test_nothing_to_rank_by_is_no_rank():
    found = ranking(np.array([[0.5, NAN]]), higher_is_better=True)
    assert np.isnan([*found.rank, found.tau]).all()
