"""A real abdominal CT series with the labels of another program."""

import shutil

import numpy as np
import pydicom
import pytest

from medseg.errors import InputError
from medseg.volumes import Volume, find_series, in_axes_of, read_series, read_volume
from medseg.volumes.dicom_rtstruct import write_rtstruct
from medseg.volumes.dicom_seg import write_seg
from tests.shared import SHARED, needs_shared
from tests.volumes.test_dicom_seg import (
    dciodvfy,
    errors_of,
    label_map_of,
    mask_of_contours,
)

DICOM = SHARED / "data" / "dicom"
LABELS = {"spleen": 1, "liver": 5, "stomach": 6, "pancreas": 7, "aorta": 52}
pytestmark = [
    needs_shared,
    pytest.mark.skipif(not (DICOM / "ct_series").is_dir(), reason="needs the real DICOM series"),
]


@pytest.fixture(scope="module")
def series():
    (found,) = find_series(DICOM / "ct_series")
    return found


@pytest.fixture(scope="module")
def scan(series):
    return read_series(series)


@pytest.fixture(scope="module")
def label_map():
    label = read_volume(DICOM / "ct_series_label_total.nii.gz")
    kept = np.where(np.isin(label.array, list(LABELS.values())), label.array, 0)
    return Volume(kept.astype(np.uint8), label.affine)


@pytest.fixture(scope="module")
def seg(tmp_path_factory, series, label_map):
    path = tmp_path_factory.mktemp("seg") / "seg.dcm"
    write_seg(path, label_map, series, LABELS)
    return path


def test_intensities_and_spacing_are_those_of_the_scanner(series, scan):
    assert (series.modality, len(series.planes)) == ("CT", 20)
    assert scan.array.dtype == np.int16
    assert (scan.array.min(), scan.array.max()) == (-1024, 1839)
    assert scan.spacing == (0.9765625, 0.9765625, 2.0)
    assert scan.affine[:3, 3].tolist() == [249.51171875, 437.51171875, -804.5]


@pytest.mark.parametrize("part", [0.05, 0.5, 0.9999])
def test_a_compressed_slice_that_breaks_off_is_refused(tmp_path, part):
    first, second = sorted((DICOM / "ct_series").iterdir())[:2]
    shutil.copyfile(first, tmp_path / first.name)
    content = second.read_bytes()
    (tmp_path / second.name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=f"{second.name}.*truncated"):
        read_volume(tmp_path)


def test_the_liver_has_a_mean_of_89_hu_by_world_position(scan, label_map):
    turned = in_axes_of(label_map, scan)
    assert np.allclose(turned.affine, scan.affine)
    assert round(float(scan.array[turned.array == LABELS["liver"]].mean())) == 89


def test_its_segmentation_lies_on_the_right_voxels(seg, scan, label_map):
    found = label_map_of(seg, LABELS)
    turned = in_axes_of(found, label_map)
    assert np.allclose(turned.affine[:, :3], label_map.affine[:, :3])
    start = (
        np.linalg.inv(label_map.affine) @ turned.affine[:, 3]
    )  # only slices with organs are kept
    corner = start[:3].round().astype(int)
    assert np.abs(start[:3] - corner).max() < 1e-3
    whole = np.zeros(label_map.array.shape, np.int64)
    box = tuple(slice(at, at + size) for at, size in zip(corner, turned.array.shape, strict=True))
    whole[box] = turned.array
    assert np.array_equal(whole, label_map.array)


@dciodvfy
def test_dciodvfy_finds_no_error_in_its_segmentation(seg):
    assert errors_of(seg) == []


def test_its_contours_fill_the_right_voxels(tmp_path, series, scan, label_map):
    write_rtstruct(tmp_path / "rt.dcm", label_map, series, LABELS)
    structures = pydicom.dcmread(tmp_path / "rt.dcm")
    turned = in_axes_of(label_map, scan)
    for number, region in enumerate(structures.StructureSetROISequence):
        found = mask_of_contours(structures, number, turned)
        assert np.array_equal(found, turned.array == LABELS[region.ROIName]), region.ROIName
