import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medseg.evaluation.significance import holm, pairs_needed, wilcoxon

NAN = float("nan")


def p_of(differences):
    return wilcoxon(np.array(differences, dtype=float)[:, None])[0][0]


@pytest.mark.parametrize("cases", [5, 6, 12, 30, 100])
def test_agrees_with_the_exact_test_of_scipy(cases):
    differences = np.random.default_rng(cases).normal(0.3, 1, cases)
    assert p_of(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_beyond_a_hundred_pairs_agrees_with_the_normal_approximation_of_scipy():
    differences = np.round(np.random.default_rng(0).normal(0.1, 1, 300), 1)  # ties and zeros
    wanted = stats.wilcoxon(differences, method="asymptotic", correction=False).pvalue
    assert p_of(differences) == pytest.approx(wanted)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_with_ties_p_is_the_share_of_all_signs_that_are_as_extreme(differences):
    unequal = np.array([d for d in differences if d])
    if unequal.size == 0:
        assert p_of(differences) == 1.0
        return
    ranks = stats.rankdata(np.abs(unequal))
    sums = [ranks @ signs for signs in itertools.product((-1, 1), repeat=unequal.size)]
    seen = abs(ranks @ np.sign(unequal))
    assert p_of(differences) == pytest.approx(np.mean(np.abs(sums) >= seen - 1e-9))


def test_six_pairs_are_the_fewest_that_can_fall_below_a_twentieth():
    assert p_of([1, 2, 3, 4, 5]) == 2 / 2**5
    assert p_of([1, 2, 3, 4, 5, 6]) == 2 / 2**6
    assert pairs_needed(1, 0.05) == 6
    assert pairs_needed(14, 0.05) == 10  # 14 · 2⁻⁹ = 0.027, 14 · 2⁻⁸ = 0.055


def test_equal_figures_and_nothing_at_all():
    p, balance = wilcoxon(np.array([[0.0, NAN, 1.0], [0.0, NAN, NAN]]))
    np.testing.assert_array_equal(p, [1.0, NAN, 1.0])
    np.testing.assert_array_equal(balance, [0.0, NAN, 1.0])
    assert wilcoxon(np.zeros((4, 0)))[0].shape == (0,)


def test_what_differs_in_the_last_bits_alone_is_equal():
    assert p_of([0.3 - 0.2 - 0.1, 0.1 + 0.2 - 0.3]) == 1.0
    assert p_of([0.3 - 0.2, 0.1, -(0.2 - 0.1)]) == p_of([1, 1, -1])


def test_the_balance_is_the_share_of_ranks_above_less_that_below():
    _, balance = wilcoxon(np.array([[3.0], [1.0], [-2.0]]))
    assert balance[0] == pytest.approx((3 + 1 - 2) / 6)


def test_infinite_differences_are_refused():
    with pytest.raises(ValueError, match="finite"):
        wilcoxon(np.array([[np.inf]]))


def test_holm_by_hand():
    # sorted: 0.005·4 = 0.02, 0.01·3 = 0.03, 0.03·2 = 0.06, 0.04·1 = 0.04 but not below 0.06
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one_and_leaves_out_what_was_not_tested():
    np.testing.assert_allclose(holm(np.array([0.6, NAN, 0.4])), [0.8, NAN, 0.8])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    assert np.isnan(holm(np.array([NAN]))).all()
    assert holm(np.array([])).size == 0
