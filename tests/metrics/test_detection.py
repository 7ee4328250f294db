import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_curve

from medseg.metrics import tpr_at_fpr

FEW_SCORES = st.integers(-4, 4)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=8)


@st.composite
def pixels(draw, scores=FEW_SCORES):
    """Scores with many ties, truth with both classes, and pixels to ignore."""
    shape = draw(SHAPES)
    return tuple(
        draw(hnp.arrays(dtype, shape, elements=elements))
        for dtype, elements in ((np.float32, scores), (bool, st.booleans()), (bool, st.booleans()))
    )


def by_sklearn(scores, label, fpr):
    """The best TPR among all points of scikit-learn's curve that keep the FPR."""
    if label.all() or not label.any():
        return np.nan
    rates, found, _ = roc_curve(label.ravel(), scores.ravel(), drop_intermediate=False)
    return found[rates <= fpr].max()


def test_by_hand():
    scores = np.array([9.0, 8, 7, 6, 5, 4, 3, 2])
    label = np.array([1, 1, 0, 1, 0, 1, 0, 0], dtype=bool)
    assert tpr_at_fpr(scores, label, 0.0) == 2 / 4
    assert tpr_at_fpr(scores, label, 0.24) == 2 / 4
    assert tpr_at_fpr(scores, label, 0.25) == 3 / 4
    assert tpr_at_fpr(scores, label, 0.5) == 1
    assert tpr_at_fpr(scores, label, 1.0) == 1


def test_equal_scores_are_found_together_or_not_at_all():
    scores, label = np.array([1.0, 1, 1, 0]), np.array([True, True, False, False])
    assert tpr_at_fpr(scores, label, 0.4) == 0
    assert tpr_at_fpr(scores, label, 0.5) == 1


def test_ignored_pixels_are_left_out_or_count_as_negative():
    scores = np.array([9.0, 8, 7, 6, 1, 1])
    label = np.array([1, 0, 1, 0, 1, 0], dtype=bool)
    ignore = np.array([0, 0, 0, 0, 1, 1], dtype=bool)
    assert tpr_at_fpr(scores, label, 0.3, ignore=ignore) == 1 / 2  # 2 negatives: 1 is half of them
    counted = tpr_at_fpr(scores, label, 0.3, ignore=ignore, ignored_count_as_negative=True)
    assert counted == 1  # 4 negatives: 1 false alarm is a quarter


@settings(deadline=None)
@given(pixels(), st.floats(0, 1))
def test_agrees_with_scikit_learn_ties_included(drawn, fpr):
    scores, label, _ = drawn
    np.testing.assert_equal(tpr_at_fpr(scores, label, fpr), by_sklearn(scores, label, fpr))


@settings(deadline=None)
@given(pixels(), st.floats(0, 1))
def test_ignoring_is_leaving_out(drawn, fpr):
    scores, label, ignore = drawn
    left = tpr_at_fpr(scores[~ignore], label[~ignore], fpr)
    np.testing.assert_equal(tpr_at_fpr(scores, label, fpr, ignore=ignore), left)


@settings(deadline=None)
@given(pixels(), st.floats(0, 1))
def test_counting_ignored_pixels_as_negative_is_giving_them_the_lowest_score(drawn, fpr):
    scores, label, ignore = drawn
    lowest, negative = np.where(ignore, -np.inf, scores), label & ~ignore
    wanted = tpr_at_fpr(lowest, negative, fpr)
    got = tpr_at_fpr(scores, label, fpr, ignore=ignore, ignored_count_as_negative=True)
    if fpr < 1:
        np.testing.assert_equal(got, wanted)


@settings(deadline=None)
@given(pixels())
def test_grows_with_the_rate_allowed(drawn):
    scores, label, _ = drawn
    if label.any() and not label.all():
        found = [tpr_at_fpr(scores, label, fpr) for fpr in (0, 0.1, 0.5, 0.9, 1)]
        assert found == sorted(found)
        assert found[-1] == 1


@pytest.mark.parametrize("label", [True, False])
def test_without_both_classes_there_is_nothing_to_measure(label):
    assert np.isnan(tpr_at_fpr(np.arange(3.0), np.full(3, label), 0.1))


@pytest.mark.parametrize(
    ("scores", "label", "fpr", "message"),
    [
        (np.zeros(3), np.zeros(3), 0.1, "bool, got label float64"),
        (np.zeros(3), np.zeros(4, bool), 0.1, r"scores \(3,\), label \(4,\)"),
        (np.array([np.nan, 1]), np.zeros(2, bool), 0.1, "NaN"),
        (np.zeros(3), np.zeros(3, bool), 1.5, r"0\.\.1, got 1\.5"),
        (np.zeros(3, complex), np.zeros(3, bool), 0.1, "real numbers"),
    ],
)
def test_what_does_not_fit_is_refused(scores, label, fpr, message):
    with pytest.raises(ValueError, match=message):
        tpr_at_fpr(scores, label, fpr)
