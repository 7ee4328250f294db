import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from medseg.metrics import RocCounts, tpr_at_fpr
from tests.metrics.test_detection import pixels

WIDE = st.floats(width=32, allow_nan=False)


def counts_of(scores, label, ignore=None, bits=18):
    counts = RocCounts(bits)
    counts.add(scores, label, ignore)
    return counts


@settings(deadline=None)
@given(pixels(WIDE), st.floats(0, 1), st.sampled_from([9, 12, 18, 20]), st.booleans())
def test_the_exact_figure_lies_within_the_bounds(drawn, fpr, bits, as_negative):
    scores, label, ignore = drawn
    exact = tpr_at_fpr(scores, label, fpr, ignore=ignore, ignored_count_as_negative=as_negative)
    bounds = counts_of(scores, label, ignore, bits).tpr_at_fpr(
        fpr, ignored_count_as_negative=as_negative
    )
    if np.isnan(exact):
        assert np.isnan(bounds.lower)
        assert np.isnan(bounds.upper)
    else:
        assert bounds.lower <= exact <= bounds.upper


@settings(deadline=None)
@given(pixels(), st.floats(0, 1))
def test_scores_in_bins_of_their_own_give_the_exact_figure(drawn, fpr):
    scores, label, ignore = drawn
    exact = tpr_at_fpr(scores, label, fpr, ignore=ignore)
    np.testing.assert_equal(counts_of(scores, label, ignore).tpr_at_fpr(fpr).lower, exact)


@settings(deadline=None)
@given(pixels())
def test_the_curve_is_scikit_learns(drawn):
    scores, label, _ = drawn
    if label.all() or not label.any():
        return
    curve = counts_of(scores, label).curve()
    fpr, tpr, threshold = roc_curve(label.ravel(), scores.ravel(), drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_allclose(curve.threshold, threshold, rtol=0.002)


@settings(deadline=None)
@given(pixels(WIDE))
def test_every_threshold_counts_what_its_rates_say(drawn):
    scores, label, _ = drawn
    if label.all() or not label.any():
        return
    curve = counts_of(scores, label, bits=10).curve()
    for threshold, fpr, tpr in zip(curve.threshold, curve.fpr, curve.tpr, strict=True):
        if threshold == np.inf:  # nothing yet, or infinite scores alone
            continue
        found = scores >= threshold
        assert fpr == found[~label].mean()
        assert tpr == found[label].mean()


@settings(deadline=None)
@given(st.lists(pixels(WIDE), min_size=1, max_size=4))
def test_images_may_be_added_apart_and_merged(images):
    together, merged = RocCounts(), RocCounts()
    for scores, label, ignore in images:
        together.add(scores, label, ignore)
        merged.merge(counts_of(scores, label, ignore))
    np.testing.assert_array_equal(together.positive, merged.positive)
    np.testing.assert_array_equal(together.negative, merged.negative)
    assert together.ignored == merged.ignored == sum(int(image[2].sum()) for image in images)


@settings(deadline=None)
@given(st.lists(WIDE, min_size=2, max_size=2))
def test_bins_keep_the_order_of_scores(pair):
    low, high = sorted(pair)
    bins = RocCounts()._bins(np.array([low, high], dtype=np.float32))
    assert bins[0] <= bins[1]


def test_bounds_of_logits_differ_by_little():
    rng = np.random.default_rng(0)
    label = rng.random(400_000) < 0.01
    scores = (rng.normal(-8, 2, label.size) + 10 * label).astype(np.float32)
    exact = tpr_at_fpr(scores, label, 1e-4)
    bounds = counts_of(scores, label).tpr_at_fpr(1e-4)
    assert bounds.lower <= exact <= bounds.upper
    assert bounds.upper - bounds.lower < 0.002


def test_memory_does_not_grow_with_the_pixels():
    rng = np.random.default_rng(0)
    counts = RocCounts()
    scores = rng.normal(size=1 << 20).astype(np.float32)
    label = scores > 2
    counts.add(scores, label)
    tracemalloc.start()
    for _ in range(5):
        counts.add(np.broadcast_to(scores, (4, scores.size))[0], label)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100_000
    assert peak < 80 << 20
    assert counts.positive.nbytes + counts.negative.nbytes == 4 << 20


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="18 bits, got 12"):
        RocCounts().merge(RocCounts(12))
    with pytest.raises(ValueError, match="9 to 24, got 30"):
        RocCounts(30)
    with pytest.raises(ValueError, match="NaN"):
        RocCounts().add(np.array([np.nan]), np.array([True]))
