from itertools import permutations, product

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medseg.inference.native import paint_labels, resample_logits, same_grid, turn_to_native
from medseg.volumes import Header

SPACING = (0.8, 0.7, 3.0)


def _affines():
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = (np.eye(3)[list(order)] * signs) @ np.diag(SPACING)
        affine[:3, 3] = (5, -7, 11)
        yield affine


@pytest.mark.parametrize("affine", list(_affines()), ids=range(48))
def test_turning_back_undoes_the_turn_to_ras_for_all_48_orientations(affine):
    native = np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(np.uint8)
    ras = apply_orientation(native, io_orientation(affine))
    header = Header(native.shape, affine, native.dtype)
    np.testing.assert_array_equal(turn_to_native(ras, header), native)


def _ras_affine_of(affine, shape):
    return affine @ inv_ornt_aff(io_orientation(affine), shape)


@pytest.mark.parametrize("affine", list(_affines()), ids=range(48))
def test_a_turned_grid_is_the_same_grid_and_a_resampled_one_is_not(affine):
    header = Header((4, 5, 6), affine, np.dtype(np.uint8))
    ras = apply_orientation(np.empty(header.shape), io_orientation(affine))
    turned = _ras_affine_of(affine, header.shape)
    assert same_grid(turned, ras.shape, header)
    assert not same_grid(turned @ np.diag([2.0, 1, 1, 1]), ras.shape, header)
    assert not same_grid(turned, (9, 9, 9), header)


def test_logits_on_a_coarser_grid_return_a_ball_to_its_place_on_the_native_one():
    native = Header((40, 36, 30), np.diag([-1.0, 1.0, 1.0, 1.0]), np.dtype(np.uint8))
    centre = np.array([-20.0, 17.0, 14.0])  # mm
    coarse_affine = np.diag([1.5, 1.5, 2.0, 1.0])
    coarse_affine[:3, 3] = (-40, 0, 0)
    index = np.indices((28, 26, 18)).reshape(3, -1)
    world = (coarse_affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    signed = 9.0 - np.linalg.norm(world - centre[:, None], axis=0).reshape(28, 26, 18)
    logits = np.stack([-signed, signed])

    found = resample_logits(logits, coarse_affine, native)
    index = np.indices(native.shape).reshape(3, -1)
    world = (native.affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    truth = (np.linalg.norm(world - centre[:, None], axis=0) < 9.0).reshape(native.shape)
    assert 2 * (found.astype(bool) & truth).sum() / (found.sum() + truth.sum()) > 0.97
    binary = resample_logits(signed[None], coarse_affine, native)
    np.testing.assert_array_equal(binary, found)


def test_organs_take_their_own_values_which_need_not_be_consecutive():
    header = Header((3, 1, 1), np.eye(4), np.dtype(np.uint8))
    classes = np.array([0, 1, 2], dtype=np.uint8).reshape(3, 1, 1)
    painted = paint_labels(classes, {"liver": 6, "tumour": 500}, header)
    assert painted.array.ravel().tolist() == [0, 6, 500]
    assert painted.array.dtype == np.uint16
