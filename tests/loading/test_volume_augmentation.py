import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.loading.volume_augmentation import (
    VolumeAugmentation,
    draw_volume_displacement,
    draw_volume_matrix,
    draw_volume_shift,
    vary_volume,
)

TURNS = VolumeAugmentation(rotation_degrees=30, scale=(1, 1), stretch=0.0, spatial_probability=1.0)
SPACING = st.tuples(*[st.floats(0.5, 8.0)] * 3)
NOISE = np.random.default_rng(9).standard_normal(100_000, dtype=np.float32)


@given(seed=st.integers(0, 10**6), spacing=SPACING)
def test_rotations_keep_distances_in_millimetres(seed, spacing):
    matrix = draw_volume_matrix(TURNS, np.random.default_rng(seed), spacing)
    mm = np.diag(spacing)
    turn = mm @ matrix @ np.linalg.inv(mm)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1)


@given(seed=st.integers(0, 10**6))
def test_thick_slices_are_turned_about_their_own_axis_alone(seed):
    matrix = draw_volume_matrix(TURNS, np.random.default_rng(seed), (0.8, 0.8, 5.0))
    np.testing.assert_allclose(matrix[2], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(matrix[:, 2], [0, 0, 1], atol=1e-12)
    assert abs(np.rad2deg(np.arcsin(matrix[0, 1]))) <= 30


@given(seed=st.integers(0, 10**6), spacing=SPACING)
def test_magnification_and_stretch_stay_within_what_was_asked(seed, spacing):
    change = VolumeAugmentation(
        rotation_degrees=0, scale=(0.5, 2.0), stretch=0.2, spatial_probability=1.0
    )
    matrix = draw_volume_matrix(change, np.random.default_rng(seed), spacing)
    magnified = 1 / np.diag(matrix)
    assert np.allclose(matrix, np.diag(np.diag(matrix)))
    assert (magnified >= 0.5 / 1.2 - 1e-9).all()
    assert (magnified <= 2.0 * 1.2 + 1e-9).all()
    assert magnified.max() / magnified.min() <= 1.2**2 + 1e-9


def test_only_the_named_axes_are_mirrored_about_half_the_time():
    change = VolumeAugmentation(flip_axes=(0, 2), spatial_probability=0.0)
    rng = np.random.default_rng(0)
    signs = np.array([np.diag(draw_volume_matrix(change, rng, (1, 1, 1))) for _ in range(400)])
    assert (signs[:, 1] == 1).all()
    assert 150 < (signs[:, 0] < 0).sum() < 250
    assert 150 < (signs[:, 2] < 0).sum() < 250


def test_shifts_and_displacements_stay_within_what_was_asked():
    change = VolumeAugmentation(
        translate=0.1, elastic_voxels=2.0, spatial_probability=1.0, elastic_probability=1.0
    )
    rng = np.random.default_rng(0)
    shifts = np.array([draw_volume_shift(change, rng, (40, 20, 10)) for _ in range(200)])
    assert (abs(shifts).max(axis=0) <= [4, 2, 1]).all()
    assert (abs(shifts).max(axis=0) > [3.8, 1.9, 0.95]).all()
    moved = draw_volume_displacement(change, rng, (12, 10, 8))
    assert moved.shape == (3, 12, 10, 8)
    assert moved.abs().max() <= 4.0


def test_intensities_change_only_when_drawn():
    image = np.random.default_rng(1).random((12, 10, 8)).astype(np.float32)
    never = VolumeAugmentation(intensity_probability=0.0)
    always = VolumeAugmentation(intensity_probability=1.0)
    rng = np.random.default_rng(2)
    np.testing.assert_array_equal(vary_volume(never, image.copy(), rng, NOISE), image)
    varied = vary_volume(always, image.copy(), rng, NOISE)
    assert varied.shape == image.shape
    assert varied.dtype == np.float32
    assert np.isfinite(varied).all()
    assert abs(varied - image).mean() > 0.02


def test_a_lower_resolution_averages_what_lies_together():
    plain = {"brightness": 0, "contrast": 0, "gamma": (1, 1), "noise": 0, "blur_voxels": 0}
    change = VolumeAugmentation(coarsen=4.0, intensity_probability=1.0, **plain)
    image = np.random.default_rng(1).random((24, 24, 24)).astype(np.float32)
    coarse = vary_volume(change, image.copy(), np.random.default_rng(5), NOISE)
    steps = [abs(np.diff(volume, axis=0)).mean() for volume in (coarse, image)]
    assert steps[0] < 0.7 * steps[1]
