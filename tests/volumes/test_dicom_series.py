import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    RLELossless,
    SegmentationStorage,
    generate_uid,
)

from medseg.errors import InputError
from medseg.volumes import (
    Volume,
    find_series,
    holds_dicom,
    read_header,
    read_series,
    read_volume,
    stem_of,
)
from medseg.volumes.files import files_of
from tests.volumes.dicom_writer import write_enhanced, write_series
from tests.volumes.test_dicom_refused import refused

SPACING = (0.8, 0.7, 2.5)
AFFINE = np.diag([-0.8, -0.7, 2.5, 1.0])
AFFINE[:3, 3] = (40.0, 30.0, -100.0)


@pytest.fixture
def volume():
    array = np.random.default_rng(0).integers(-1000, 2000, (6, 5, 8)).astype(np.int16)
    return Volume(array, AFFINE)


def test_a_series_reads_as_the_volume_it_was_written_from(tmp_path, volume):
    write_series(tmp_path / "ct", volume, intercept=-1024)
    read = read_volume(tmp_path / "ct")
    assert read.array.dtype == np.int16
    assert np.array_equal(read.array, volume.array)
    assert np.allclose(read.affine, volume.affine)
    assert read.spacing == pytest.approx(SPACING)


def test_a_header_is_read_without_pixels(tmp_path, volume):
    for path in write_series(tmp_path, volume):
        dataset = pydicom.dcmread(path)
        del dataset.PixelData
        dataset.save_as(path)
    header = read_header(tmp_path)
    assert header.shape == volume.array.shape
    assert np.allclose(header.affine, volume.affine)
    refused(tmp_path, "an image, got a file without pixel data")


def test_slices_may_lie_in_subfolders_under_any_names(tmp_path, volume):
    paths = write_series(tmp_path / "ct", volume)
    for index, path in enumerate(paths):
        (tmp_path / "disk" / str(index % 3)).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "disk" / str(index % 3) / f"{7 * index % 8}")
    assert np.array_equal(read_volume(tmp_path / "disk").array, volume.array)
    assert len(files_of(tmp_path / "disk")) == 8


def test_slope_and_intercept_may_differ_from_slice_to_slice(tmp_path, volume):
    def rescale(index, dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{0.5 + index}", f"{index}"

    write_series(tmp_path, volume, change=rescale)
    read = read_volume(tmp_path)
    assert read.array.dtype == np.float32
    index = np.arange(8)
    assert np.allclose(read.array, volume.array * (0.5 + index) + index)


def test_whole_numbers_beyond_int16_become_float32(tmp_path, volume):
    write_series(tmp_path, volume, change=lambda _, dataset: setattr(dataset, "RescaleSlope", 64))
    read = read_volume(tmp_path)
    assert read.array.dtype == np.float32
    assert np.array_equal(read.array, volume.array.astype(np.float32) * 64)


def test_a_single_slice_takes_its_thickness_as_spacing(tmp_path, volume):
    write_series(tmp_path, Volume(volume.array[..., :1], volume.affine))
    assert read_volume(tmp_path).spacing == pytest.approx(SPACING)


def test_run_length_encoding_is_decoded(tmp_path, volume):
    for path in write_series(tmp_path, volume):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    assert np.array_equal(read_volume(tmp_path).array, volume.array)


def test_names_of_zips_and_slices_lose_their_suffix():
    assert [stem_of(name) for name in ("a/case1.zip", "x.DCM", "y.nii.gz")] == ["case1", "x", "y"]


def test_several_series_are_listed_and_one_is_chosen_by_uid(tmp_path, volume):
    uids = [generate_uid(), generate_uid()]
    write_series(tmp_path / "a", volume, SeriesInstanceUID=uids[0])
    shifted = Volume(volume.array + np.int16(1), volume.affine)
    write_series(tmp_path / "b", shifted, SeriesInstanceUID=uids[1], Modality="MR")
    message = refused(tmp_path, "one series, got 2")
    assert all(uid in message for uid in uids)
    found = {series.uid: series for series in find_series(tmp_path)}
    assert {uid: (found[uid].modality, len(found[uid].planes)) for uid in uids} == {
        uids[0]: ("CT", 8),
        uids[1]: ("MR", 8),
    }
    assert np.array_equal(read_volume(tmp_path, series_uid=uids[1]).array, shifted.array)
    with pytest.raises(InputError, match=r"the series 1\.2\.3, got"):
        read_volume(tmp_path, series_uid="1.2.3")


def test_a_description_that_holds_the_patients_name_is_not_shown(tmp_path, volume):
    write_series(tmp_path / "a", volume, SeriesDescription="Abdomen 2.5 QUIXOTE")
    write_series(tmp_path / "b", volume, SeriesDescription="Abdomen 2.5")
    assert sorted(series.description for series in find_series(tmp_path)) == ["", "Abdomen 2.5"]


def test_localizers_are_left_out_and_said(tmp_path, volume):
    def scout(index, dataset):
        if index == 0:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(tmp_path, volume, change=scout)
    (series,) = find_series(tmp_path)
    assert series.notices == ("1 localizers left out",)
    assert np.array_equal(read_series(series).array, volume.array[..., 1:])


def test_other_files_are_left_out_and_said(tmp_path, volume):
    write_series(tmp_path, volume)
    (tmp_path / "readme.txt").write_text("nothing")
    (tmp_path / ".hidden").write_text("nothing")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "nowhere")
    (series,) = find_series(tmp_path)
    assert series.notices == ("1 files that are no scan left out",)
    assert len(series.planes) == 8


def test_a_segmentation_beside_the_scan_is_left_out(tmp_path, volume):
    write_series(tmp_path / "a", volume)
    write_series(
        tmp_path / "b",
        volume,
        Modality="SEG",
        change=lambda _, dataset: setattr(dataset, "SOPClassUID", SegmentationStorage),
    )
    assert np.array_equal(read_volume(tmp_path).array, volume.array)


def test_captured_screens_beside_the_scan_need_to_be_named(tmp_path, volume):
    write_series(tmp_path / "a", volume)
    write_series(
        tmp_path / "b",
        volume,
        change=lambda _, dataset: delattr(dataset, "ImagePositionPatient"),
    )
    assert np.array_equal(read_volume(tmp_path).array, volume.array)
    assert [series.is_placed for series in find_series(tmp_path)] == [True, False]


def test_a_folder_is_asked_whether_it_holds_dicom(tmp_path, volume):
    (tmp_path / "readme.txt").write_text("nothing")
    assert not holds_dicom(tmp_path)
    write_series(tmp_path / "deep" / "ct", volume)
    assert holds_dicom(tmp_path)


def test_an_enhanced_multi_frame_file_reads_as_its_slices_do(tmp_path, volume):
    small = Volume(volume.array // 100, volume.affine)
    read = read_volume(write_enhanced(tmp_path, small))
    assert np.array_equal(read.array, small.array * np.arange(8, 0, -1, dtype=np.int16))
    assert np.allclose(read.affine, small.affine)
