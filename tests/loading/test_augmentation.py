import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import UsageError
from medseg.loading.augmentation import (
    Augmentation,
    draw_displacement,
    draw_matrix,
    pixel_grid,
    vary_intensity,
)
from medseg.loading.slices import Warp

SIZE = (64, 48)
STILL = {
    "rotation_degrees": 0.0, "scale": (1.0, 1.0), "translate": 0.0, "elastic_pixels": 0.0,
    "brightness": 0.0, "contrast": 0.0, "gamma": (1.0, 1.0), "noise": 0.0, "blur_pixels": 0.0,
    "spatial_probability": 1.0, "elastic_probability": 1.0, "intensity_probability": 1.0,
}  # fmt: skip
NOISE = np.random.default_rng(0).standard_normal(1 << 16, dtype=np.float32)


def drawn(seed=0, size=SIZE, **changed):
    return draw_matrix(Augmentation(**(STILL | changed)), np.random.default_rng(seed), size)


def varied(image, seed=0, **changed):
    augmentation = Augmentation(**(STILL | changed))
    return vary_intensity(augmentation, image.copy(), np.random.default_rng(seed), NOISE)


def test_everything_off_changes_nothing():
    image = np.random.default_rng(0).random((3, 16, 16), dtype=np.float32)
    np.testing.assert_allclose(drawn(), np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(varied(image), image)
    assert draw_displacement(Augmentation(**STILL), np.random.default_rng(0), SIZE) is None


def test_rotation_turns_about_the_centre_by_at_most_its_limit():
    angles = []
    for seed in range(200):
        matrix = drawn(seed, rotation_degrees=20.0)
        np.testing.assert_allclose(matrix @ [31.5, 23.5, 1], [31.5, 23.5, 1], atol=1e-9)
        np.testing.assert_allclose(matrix[:2, :2] @ matrix[:2, :2].T, np.eye(2), atol=1e-12)
        angles.append(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert -20 <= min(angles) < -18
    assert 18 < max(angles) <= 20


def test_scale_two_shows_things_twice_as_large():
    matrix = drawn(scale=(2.0, 2.0))
    np.testing.assert_allclose(np.diag(matrix)[:2], [0.5, 0.5])


def test_translation_stays_within_its_fraction_of_each_axis():
    shifts = np.array([drawn(seed, translate=0.1)[:2, 2] for seed in range(300)])
    assert np.all(np.abs(shifts) <= [6.4, 4.8])
    assert np.all(np.abs(shifts).max(axis=0) > [6.0, 4.5])


def test_shear_keeps_areas():
    for seed in range(20):
        assert np.linalg.det(drawn(seed, shear_degrees=15.0)) == pytest.approx(1.0)


def test_flips_happen_half_the_time_and_only_along_their_axis():
    flips = np.array([np.diag(drawn(seed, flip_axes=(0,)))[:2] for seed in range(400)])
    assert np.all(flips[:, 1] == 1)
    assert 160 < np.count_nonzero(flips[:, 0] == -1) < 240


def test_nothing_is_flipped_by_default():
    signs = [np.linalg.det(draw_matrix(Augmentation(), np.random.default_rng(seed), SIZE)) > 0
             for seed in range(50)]  # fmt: skip
    assert all(signs)


def test_spatial_probability_is_how_often_pixels_move():
    still = [
        np.allclose(drawn(seed, rotation_degrees=20.0, spatial_probability=0.3), np.eye(3))
        for seed in range(500)
    ]
    assert 0.62 < np.mean(still) < 0.78


def test_displacement_is_smooth_and_as_large_as_asked():
    augmentation = Augmentation(**(STILL | {"elastic_pixels": 3.0, "elastic_points": 5}))
    fields = np.stack(
        [draw_displacement(augmentation, np.random.default_rng(s), SIZE) for s in range(60)]
    )
    assert fields.shape[1:] == (*SIZE, 2)
    assert 1.5 < fields.std() < 3.5
    assert np.abs(np.diff(fields, axis=1)).max() < 2.5
    assert np.abs(np.diff(fields, axis=2)).max() < 2.5


def test_brightness_contrast_and_gamma_have_their_meaning():
    image = np.random.default_rng(1).random((1, 16, 16), dtype=np.float32)
    for seed in range(20):
        brighter = varied(image, seed, brightness=0.2) - image
        assert np.ptp(brighter) < 1e-6
        assert abs(brighter.mean()) <= 0.2
        contrast = varied(image, seed, contrast=0.3)
        assert contrast.mean() == pytest.approx(image.mean(), abs=1e-5)
        assert 0.7 <= contrast.std() / image.std() <= 1.3
        exponent = np.log(varied(image, seed, gamma=(0.5, 2.0))) / np.log(image)
        assert np.ptp(exponent) < 1e-2
        assert 0.5 <= exponent.mean() <= 2.0


def test_noise_and_blur_have_their_meaning():
    image = np.zeros((2, 32, 32), dtype=np.float32)
    image[:, 16, 16] = 1
    deviations = [(varied(image, seed, noise=0.05) - image).std() for seed in range(30)]
    assert max(deviations) < 0.055
    assert max(deviations) > 0.04
    blurred = [varied(image, seed, blur_pixels=2.0) for seed in range(10)]
    np.testing.assert_allclose([each.sum() for each in blurred], 2.0, rtol=1e-4)
    assert min(each.max() for each in blurred) < 0.1


def test_label_stays_on_its_object_through_every_change_of_place():
    rows, columns = np.indices((160, 140), dtype=np.float32)
    blobs = sum(
        np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 500) for r, c in ((40, 50), (110, 90))
    )
    plane = (blobs * 60000).astype(np.uint16)
    label = (plane > 30000).astype(np.uint8)
    augmentation = Augmentation(shear_degrees=8.0, elastic_probability=1.0, flip_axes=(0, 1))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        matrix = np.array([[2.5, 0, 0.75], [0, 2.9, 0.95]]) @ draw_matrix(augmentation, rng, SIZE)
        warp = Warp(matrix, draw_displacement(augmentation, rng, SIZE), SIZE)
        image, shown = warp.linear(plane), warp.nearest(label)
        assert shown.sum() > 20
        assert np.all(shown[image > 38000] == 1)
        assert np.all(shown[image < 22000] == 0)


def test_a_displacement_of_zero_is_the_affine_alone():
    plane = cv2.GaussianBlur(
        np.random.default_rng(0).random((90, 70)).astype(np.float32), (0, 0), 3
    )
    matrix = drawn(3, rotation_degrees=20.0, scale=(0.8, 1.2), translate=0.1)[:2]
    affine = Warp(matrix, None, SIZE).linear(plane)
    mapped = Warp(matrix, np.zeros((*SIZE, 2), dtype=np.float32), SIZE).linear(plane)
    np.testing.assert_allclose(mapped, affine, atol=0.02)


def test_the_pixel_grid_counts_columns_first():
    grid = pixel_grid((2, 3))
    assert grid.shape == (2, 3, 2)
    assert grid[1, 2].tolist() == [2.0, 1.0]


@given(st.integers(0, 2**32), st.tuples(st.integers(8, 300), st.integers(8, 300)))
def test_the_same_numbers_give_the_same_change(seed, size):
    one, two = (draw_matrix(Augmentation(), np.random.default_rng(seed), size) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "arguments",
    [{"flip_axes": (2,)}, {"scale": (1.2, 0.8)}, {"gamma": (0.0, 1.0)},
     {"elastic_probability": 1.5}, {"elastic_points": 1}],
)  # fmt: skip
def test_senseless_numbers_are_refused(arguments):
    with pytest.raises(UsageError):
        Augmentation(**arguments)


def test_turned_and_mirrored_slices_are_those_of_numpy_and_all_occur():
    plane = np.arange(36, dtype=np.float32).reshape(6, 6)
    wanted = {
        np.flip(np.rot90(plane, turns), axis).tobytes() for turns in range(4) for axis in (0, 1)
    }
    found = {
        Warp(drawn(seed, (6, 6), turn_and_flip_probability=1.0)[:2], None, (6, 6))
        .linear(plane)
        .tobytes()
        for seed in range(60)
    }
    assert found == wanted


def test_turning_and_mirroring_takes_the_place_of_the_other_changes():
    matrices = [
        drawn(seed, turn_and_flip_probability=0.5, rotation_degrees=20.0) for seed in range(400)
    ]
    whole = [np.allclose(m[:2, :2], np.rint(m[:2, :2])) for m in matrices]
    assert 160 < sum(whole) < 240
