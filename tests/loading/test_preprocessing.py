import itertools
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import InputError, UsageError
from medseg.loading.preprocessing import Preprocessing, prepare_image, prepare_label
from medseg.volumes import Volume

UNIT = Preprocessing(window=(0.0, 1.0))


def turned(volume: Volume, axes: tuple[int, ...], flips: tuple[int, ...]) -> Volume:
    """The same volume stored with other axes, by nibabel."""
    orientation = np.column_stack([axes, flips])
    image = nib.Nifti1Image(volume.array, volume.affine).as_reoriented(orientation)
    return Volume(np.asarray(image.dataobj), image.affine)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_any_order_and_direction_of_axes_gives_the_same_ras_volume(axes):
    rng = np.random.default_rng(0)
    affine = np.array([[2.0, 0, 0, -5], [0, 3, 0, 7], [0, 0, 4, 11], [0, 0, 0, 1]])
    canonical = Volume(rng.random((4, 5, 6), dtype=np.float32), affine)
    for flips in itertools.product((1, -1), repeat=3):
        prepared = prepare_image(turned(canonical, axes, flips), UNIT)
        np.testing.assert_array_equal(prepared.array, canonical.array)
        np.testing.assert_allclose(prepared.affine, affine, atol=1e-9)


def test_window_clips_and_scales_to_0_and_1():
    array = np.array([-1000.0, -125, 75, 275, 3000]).reshape(5, 1, 1)
    prepared = prepare_image(Volume(array, np.eye(4)), Preprocessing(window=(-125, 275)))
    np.testing.assert_allclose(prepared.array.ravel(), [0, 0, 0.5, 1, 1])
    assert prepared.array.dtype == np.float32


def test_percentiles_leave_out_zero_voxels():
    array = np.concatenate([np.zeros(900), np.arange(1.0, 102.0)]).reshape(-1, 1, 1)
    prepared = prepare_image(Volume(array, np.eye(4)), Preprocessing(percentiles=(10, 90)))
    # the percentiles of 1..101 are 11 and 91
    assert prepared.array[900 + 10, 0, 0] == pytest.approx(0.0)
    assert prepared.array[900 + 50, 0, 0] == pytest.approx(0.5)
    assert prepared.array[900 + 90, 0, 0] == pytest.approx(1.0)


def test_percentiles_give_the_same_image_on_three_intensity_scales():
    array = np.random.default_rng(0).gamma(2.0, 100.0, (12, 12, 12))
    array[:3] = 0
    preprocessing = Preprocessing(percentiles=(0.5, 99.5))
    images = [
        prepare_image(Volume((array * scale).astype(np.float32), np.eye(4)), preprocessing).array
        for scale in (1.0, 1000.0, 1 / 300)
    ]
    np.testing.assert_allclose(images[1], images[0], atol=1e-5)
    np.testing.assert_allclose(images[2], images[0], atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_an_image_of_one_intensity_becomes_zeros_under_percentiles(value):
    volume = Volume(np.full((3, 3, 3), value), np.eye(4))
    assert not prepare_image(volume, Preprocessing(percentiles=(1, 99))).array.any()


def test_resampling_a_ramp_keeps_every_point_of_the_world_at_its_value():
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    array = np.indices((20, 10, 8))[0] / 20.0  # x in mm / 40
    volume = Volume(array, affine)
    prepared = prepare_image(volume, Preprocessing(spacing=(1.0, None, 3.0), window=(0, 1)))
    assert prepared.spacing == pytest.approx((1.0, 2.0, 3.0))
    x_mm = prepared.affine[0, 0] * np.arange(prepared.array.shape[0]) + prepared.affine[0, 3]
    inside = (x_mm >= 0) & (x_mm <= 38)
    assert inside.sum() > 30
    ramp = np.broadcast_to((x_mm / 40)[inside, None, None], prepared.array[inside].shape)
    np.testing.assert_allclose(prepared.array[inside], ramp, atol=1e-5)


def test_spacing_counts_along_ras_axes_whatever_the_files_are():
    volume = Volume(np.zeros((6, 6, 6)), np.diag([1.0, 1.0, 1.0, 1.0]))
    sideways = turned(volume, (2, 0, 1), (1, -1, 1))
    prepared = prepare_image(sideways, Preprocessing(spacing=(None, None, 2.0), window=(0, 1)))
    assert prepared.array.shape == (6, 6, 4)  # 5 mm between the outer centres: 0, 2, 4 and 6
    assert prepared.spacing == pytest.approx((1.0, 1.0, 2.0))


def test_a_resampled_label_holds_no_class_in_between():
    array = np.zeros((10, 10, 10), dtype=np.uint8)
    array[5:] = 9
    preprocessing = Preprocessing(spacing=(0.7, 1.3, 1.0), window=(0, 1))
    labels = {"a": 1, "b": 2}
    volume = Volume(array, np.eye(4))
    prepared = prepare_label(volume, preprocessing, {"a": 4, "b": 9}, labels)
    assert set(np.unique(prepared.array)) == {0, 2}
    assert prepared.array.shape == prepare_image(volume, preprocessing).array.shape


def test_organs_are_matched_by_name_and_the_rest_is_background():
    array = np.array([0, 3, 700, 12, 5], dtype=np.float64).reshape(5, 1, 1)
    file_labels = {"spleen": 3, "liver": 700, "aorta": 12, "bladder": 5}
    labels = {"liver": 50, "spleen": 9}
    prepared = prepare_label(Volume(array, np.eye(4)), UNIT, file_labels, labels)
    assert prepared.array.ravel().tolist() == [0, 2, 1, 0, 0]
    assert prepared.array.dtype == np.uint8


def test_more_than_255_organs_take_two_bytes():
    labels = {f"organ {value}": value for value in range(1, 301)}
    array = np.array([0, 255, 256, 300], dtype=np.int16).reshape(4, 1, 1)
    prepared = prepare_label(Volume(array, np.eye(4)), UNIT, labels, labels)
    assert prepared.array.ravel().tolist() == [0, 255, 256, 300]
    assert prepared.array.dtype == np.uint16


@pytest.mark.parametrize("stray", [7, -1, 1.5, 1e9, np.nan])
def test_values_outside_the_map_are_named(stray):
    array = np.array([0, 1, stray]).reshape(3, 1, 1)
    volume = Volume(array, np.eye(4))
    with pytest.raises(
        InputError, match=r"scan\.nii: expected label values \[0, 1\], got"
    ) as caught:
        prepare_label(volume, UNIT, {"liver": 1}, {"liver": 1}, source="scan.nii")
    assert f"{stray:g}" in str(caught.value)


def test_an_organ_that_the_file_does_not_know_is_an_error():
    volume = Volume(np.zeros((2, 2, 2), dtype=np.uint8), np.eye(4))
    with pytest.raises(InputError, match="none named aorta"):
        prepare_label(volume, UNIT, {"liver": 1}, {"liver": 1, "aorta": 2})


@given(
    st.sampled_from(["window", "percentiles"]),
    st.none() | st.tuples(*[st.none() | st.floats(0.1, 10)] * 3),
)
def test_settings_survive_json(kind, spacing):
    settings = Preprocessing(spacing=spacing, **{kind: (1, 99)})
    assert Preprocessing(**json.loads(json.dumps(settings.to_plain()))) == settings


@pytest.mark.parametrize(
    "arguments",
    [{}, {"window": (0, 1), "percentiles": (1, 99)}, {"window": (1, 0)}, {"percentiles": (-1, 99)},
     {"percentiles": (1, 101)}, {"window": (0, 1), "spacing": (1, 1)},
     {"window": (0, 1), "spacing": (1, 0, 1)}],
)  # fmt: skip
def test_senseless_settings_are_refused(arguments):
    with pytest.raises(UsageError):
        Preprocessing(**arguments)


def test_settings_can_be_read_without_torch_or_monai():
    code = (
        "import sys, medseg.loading.geometry, medseg.loading.preprocessing, medseg.loading.store;"
        "sys.exit(bool({'torch', 'monai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
