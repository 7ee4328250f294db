"""Every way a volume can lie in its file, there and back, by landmarks in millimetres."""

import itertools

import highdicom
import numpy as np
import pytest

from medseg.volumes import Volume, find_series, read_series, read_volume, write_label_map
from medseg.volumes.dicom_seg import write_seg
from tests.volumes.dicom_writer import LPS_TO_RAS, write_series

ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
SPACINGS = [(1.0, 1.0, 1.0), (0.8, 0.8, 5.0), (3.0, 0.7, 1.3)]
LANDMARKS = {1: (0, 0, 0), 2: (5, 0, 0), 3: (0, 4, 1), 4: (2, 3, 2), 5: (5, 4, 2), 6: (3, 1, 0)}
LABELS = {f"landmark {value}": value for value in LANDMARKS}


def volume_in(axes, signs, spacing):
    """Six marked voxels in a grid whose axes run along world axes ``axes`` with ``signs``."""
    array = np.zeros((6, 5, 3), np.uint8)
    for value, voxel in LANDMARKS.items():
        array[voxel] = value
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, index] = sign * spacing[index]
    affine[:3, 3] = (-31.25, 17.5, 104.75)
    return Volume(array, affine)


def world_of(volume):
    """Landmark → where its voxel's centre lies, in RAS mm."""
    found = {}
    for value in LANDMARKS:
        (voxel,) = np.argwhere(volume.array == value)
        found[value] = (volume.affine @ [*voxel, 1])[:3]
    return found


def assert_in_place(found, volume):
    expected = world_of(volume)
    assert found.keys() == expected.keys()
    off = max(np.linalg.norm(found[value] - expected[value]) for value in expected)
    assert off < 0.5 * min(volume.spacing)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_landmarks_stay_in_place_in_every_orientation_of_a_label_map(tmp_path, suffix, spacing):
    for axes, signs in ORIENTATIONS:
        volume = volume_in(axes, signs, spacing)
        path = tmp_path / f"map{suffix}"
        write_label_map(path, volume)
        back = read_volume(path)
        assert back.array.shape == volume.array.shape
        assert_in_place(world_of(back), volume)


def landmarks_of_seg(path):
    """Landmark → place in RAS mm, as highdicom has it from the segmentation's own frames."""
    segmentation = highdicom.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=True)
    found = {}
    for number in segmentation.segment_numbers:
        value = int(segmentation.get_segment_description(number).segment_label.split()[1])
        (voxel,) = np.argwhere(volume.array == number)
        found[value] = (LPS_TO_RAS @ volume.affine @ [*voxel, 1])[:3]
    return found


def check_series_to_seg(folder, orientations, spacing):
    for number, (axes, signs) in enumerate(orientations):
        volume = volume_in(axes, signs, spacing)
        write_series(folder / str(number), volume)
        (series,) = find_series(folder / str(number))
        read = read_series(series)
        assert np.linalg.det(read.affine) > 0
        assert_in_place(world_of(read), volume)
        path = folder / f"{number}.dcm"
        write_seg(path, Volume(read.array.astype(np.uint8), read.affine), series, LABELS)
        assert_in_place(landmarks_of_seg(path), volume)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_landmarks_stay_in_place_from_a_series_to_its_segmentation(tmp_path, spacing):
    """Of the 48, every fifth, which meets each axis in each place and both handednesses."""
    check_series_to_seg(tmp_path, ORIENTATIONS[::5], spacing)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", SPACINGS)
def test_landmarks_stay_in_place_in_all_48_orientations_of_a_series(tmp_path, spacing):
    check_series_to_seg(tmp_path, ORIENTATIONS, spacing)


def test_a_map_with_its_axes_turned_is_written_on_the_same_voxels(tmp_path):
    volume = volume_in((0, 1, 2), (-1, -1, 1), (0.8, 0.8, 5.0))
    write_series(tmp_path / "series", volume)
    (series,) = find_series(tmp_path / "series")
    turn = np.eye(4)
    turn[:3, :3] = [[0, 1, 0], [0, 0, -1], [1, 0, 0]]
    turn[1, 3] = 4  # new axes: slices, columns, rows from the last
    turned = Volume(volume.array.transpose(2, 0, 1)[:, :, ::-1], volume.affine @ turn)
    write_seg(tmp_path / "seg.dcm", turned, series, LABELS)
    assert_in_place(landmarks_of_seg(tmp_path / "seg.dcm"), volume)


def test_an_oblique_series_keeps_its_directions(tmp_path):
    angle = np.radians(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    volume = volume_in((0, 2, 1), (1, -1, 1), (0.9, 1.1, 3.0))
    affine = volume.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    volume = Volume(volume.array, affine)
    write_series(tmp_path, volume)
    assert_in_place(world_of(read_volume(tmp_path)), volume)
