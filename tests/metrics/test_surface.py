import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from medseg.metrics import assd, evaluate_case, hd, hd95
from medseg.metrics.crops import Grid, pair_of_masks
from medseg.metrics.distances import nearest_mm
from medseg.metrics.surface import surface_distances

lengths = st.sampled_from([0.3, 0.7, 1.0, 1.5, 5.0])


@st.composite
def grids(draw):
    """Two masks, neither empty, and a spacing; sparse and dense, 2D and 3D, one voxel thin."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = rng.random((2, *shape)) < draw(st.sampled_from([0.05, 0.4, 0.9]))
    for mask in masks:
        mask[tuple(rng.integers(shape))] = True
    return masks[0], masks[1], tuple(draw(lengths) for _ in shape)


def brute_force(pred, label, spacing):
    borders = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (pred, label)]
    pairs = np.linalg.norm(borders[0][:, None] - borders[1][None], axis=-1)
    return pairs.min(axis=1), pairs.min(axis=0)


def test_two_voxels_three_apart_along_a_2mm_axis_are_6mm_apart():
    pred, label = np.zeros((2, 1, 8, 1), dtype=bool)
    pred[0, 1, 0] = label[0, 4, 0] = True
    assert hd95(pred, label, spacing=(5.0, 2.0, 1.0)) == 6.0
    assert hd95(pred, label, spacing=(5.0, 2.0, 1.0), convention="directed") == 6.0


def test_a_far_false_positive_weighs_more_in_the_directed_convention():
    label = np.zeros((1, 200), dtype=bool)
    label[0, :10] = True
    pred = label.copy()
    pred[0, 109] = True  # 100 mm from the label's end
    # pooled: the 95th percentile of twenty zeros and one 100; directed: of ten zeros and one 100
    assert hd95(pred, label, (1, 1)) == 0.0
    assert hd95(pred, label, (1, 1), convention="directed") == pytest.approx(50.0)


@settings(max_examples=150)
@given(grids())
def test_agrees_with_distances_measured_pair_by_pair(grid):
    pred, label, spacing = grid
    forth, back = brute_force(pred, label, np.asarray(spacing))
    pooled = np.percentile(np.concatenate([forth, back]), 95)
    directed = max(np.percentile(forth, 95), np.percentile(back, 95))
    assert hd95(pred, label, spacing) == pytest.approx(pooled, abs=1e-12)
    assert hd95(pred, label, spacing, "directed") == pytest.approx(directed, abs=1e-12)
    for ours, theirs in zip(
        surface_distances(pair_of_masks(pred, label, spacing)), (forth, back), strict=True
    ):
        np.testing.assert_allclose(np.sort(ours), np.sort(theirs), atol=1e-12)


@settings(deadline=None)
@given(grids(), st.sampled_from(["pooled", "directed"]))
def test_is_the_same_from_either_side(grid, convention):
    pred, label, spacing = grid
    assert hd95(pred, label, spacing, convention) == hd95(label, pred, spacing, convention)


@settings(deadline=None)
@given(grids(), st.sampled_from([0.25, 2.0, 8.0]), st.sampled_from(["pooled", "directed"]))
def test_doubles_when_every_voxel_is_twice_as_large(grid, factor, convention):
    pred, label, spacing = grid
    larger = tuple(factor * length for length in spacing)
    expected = factor * hd95(pred, label, spacing, convention)
    assert hd95(pred, label, larger, convention) == pytest.approx(expected)


@settings(deadline=None)
@given(grids(), st.integers(1, 3))
def test_is_the_same_with_room_around_the_masks(grid, margin):
    pred, label, spacing = grid
    padded = [np.pad(mask, margin) for mask in (pred, label)]
    assert hd95(*padded, spacing) == hd95(pred, label, spacing)


def test_an_organ_that_touches_the_edge_has_its_surface_there():
    label = np.ones((5, 5), dtype=bool)
    pred = np.zeros((5, 5), dtype=bool)
    pred[2, 2] = True
    forth, back = surface_distances(pair_of_masks(pred, label, (1.0, 1.0)))
    assert forth.tolist() == [2.0]  # from the middle to the edge
    assert len(back) == 16  # the edge of a 5 by 5 square


def test_empty_masks():
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    assert np.isnan(hd95(empty, empty, spacing=(1, 1)))
    assert hd95(empty, full, spacing=(1, 1)) == hd95(full, empty, spacing=(1, 1)) == np.inf


def test_the_masks_are_left_as_they_were():
    pred, label = np.random.default_rng(0).random((2, 6, 6, 6)) > 0.5
    before = pred.copy(), label.copy()
    hd95(pred, label, (1, 1, 1))
    np.testing.assert_array_equal(pred, before[0])
    np.testing.assert_array_equal(label, before[1])


def test_error_names_what_does_not_fit():
    mask = np.ones((4, 4), dtype=bool)
    with pytest.raises(ValueError, match=r"pred \(4, 4\).*3 spacings"):
        hd95(mask, mask, spacing=(1, 1, 1))
    with pytest.raises(ValueError, match=r"positive lengths in mm, got \(1, 0\)"):
        hd95(mask, mask, spacing=(1, 0))
    with pytest.raises(ValueError, match="pred uint8"):
        hd95(mask.astype(np.uint8), mask, spacing=(1, 1))
    with pytest.raises(ValueError, match=r"'pooled', 'directed'.*got 'medpy'"):
        hd95(mask, mask, (1, 1), convention="medpy")


def test_hd_and_assd_by_hand():
    pred, label = np.zeros((2, 1, 12), dtype=bool)
    pred[0, 1] = pred[0, 9] = label[0, 1] = label[0, 2] = True
    # prediction to label: 0 and 7 voxels; label to prediction: 0 and 1
    assert hd(pred, label, (1.0, 2.0)) == 14.0
    assert assd(pred, label, (1.0, 2.0)) == pytest.approx((0 + 14 + 0 + 2) / 4)
    empty = np.zeros_like(pred)
    for figure in (hd, assd):
        assert figure(pred, empty, (1, 1)) == figure(empty, pred, (1, 1)) == np.inf
        assert np.isnan(figure(empty, empty, (1, 1)))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1.0, 1.0, 1.0), (0.2, 0.3, 5.0)]))
def test_near_and_far_voxels_have_the_distances_of_a_tree_alone(seed, spacing):
    rng = np.random.default_rng(seed)
    start, goal = (np.unique(rng.integers(0, 25, (3, n)), axis=1) for n in (300, 200))
    start = np.concatenate([start, start[:, :20] + [[60], [0], [-40]]], axis=1)
    ours = nearest_mm(start, goal, Grid(spacing))
    far, _ = cKDTree(goal.T * np.asarray(spacing)).query(start.T * np.asarray(spacing))
    np.testing.assert_allclose(ours, far, rtol=1e-12)


def test_masks_larger_than_one_slab_have_no_seams(monkeypatch):
    rng = np.random.default_rng(0)
    masks = [rng.random((9, 6, 7)) > 0.4 for _ in range(2)]
    whole = evaluate_case(*[mask.astype(int) for mask in masks], (1, 2, 3), {"liver": 1})
    monkeypatch.setattr("medseg.metrics.crops.SLAB_VOXELS", 100)
    slabs = evaluate_case(*[mask.astype(int) for mask in masks], (1, 2, 3), {"liver": 1})
    assert whole == slabs
