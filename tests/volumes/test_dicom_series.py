import shutil

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    JPEGLosslessSV1,
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
from tests.volumes.dicom_writer import PATIENT, write_series

SPACING = (0.8, 0.7, 2.5)
AFFINE = np.diag([-0.8, -0.7, 2.5, 1.0])
AFFINE[:3, 3] = (40.0, 30.0, -100.0)


@pytest.fixture
def volume():
    array = np.random.default_rng(0).integers(-1000, 2000, (6, 5, 8)).astype(np.int16)
    return Volume(array, AFFINE)


def refused(path, match):
    with pytest.raises(InputError, match=match) as error:
        read_volume(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    for value in PATIENT.values():
        for part in value.split("^"):
            assert part not in message
    return message


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


def test_a_missing_slice_is_told_with_its_place(tmp_path, volume):
    write_series(tmp_path, volume)[3].unlink()
    refused(tmp_path, r"a slice every 2\.5 mm, got 1 missing, first after -95\.00 mm")


def test_a_changing_distance_is_refused(tmp_path, volume):
    def stretch(index, dataset):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + max(0, index - 4)]

    write_series(tmp_path, volume, change=stretch)
    refused(tmp_path, r"one distance from slice to slice, got 2\.5 to 3\.5 mm")


def test_a_gantry_tilt_is_told_with_its_angle(tmp_path, volume):
    def tilt(index, dataset):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 2.5 * index * np.tan(np.radians(15)), z]

    write_series(tmp_path, volume, change=tilt)
    refused(tmp_path, r"a gantry tilt of 15\.0 degrees")


def test_slices_shifted_sideways_are_refused(tmp_path, volume):
    def shift(index, dataset):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 3 * (index == 2), y, z]

    write_series(tmp_path, volume, change=shift)
    refused(tmp_path, "slices straight behind each other, got shifts")


def test_two_images_at_one_position_are_refused(tmp_path, volume):
    uid = generate_uid()
    write_series(tmp_path / "a", volume, SeriesInstanceUID=uid)
    write_series(tmp_path / "b", volume, SeriesInstanceUID=uid)
    refused(tmp_path, r"several images at one position \(8 times\)")


def test_the_same_file_twice_is_refused(tmp_path, volume):
    paths = write_series(tmp_path, volume)
    shutil.copy(paths[2], tmp_path / "copy")
    refused(tmp_path, r"the same image twice \(1 times\)")


def test_localizers_are_left_out_and_said(tmp_path, volume):
    def scout(index, dataset):
        if index == 0:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(tmp_path, volume, change=scout)
    (series,) = find_series(tmp_path)
    assert series.notices == ("1 localizers left out",)
    assert np.array_equal(read_series(series).array, volume.array[..., 1:])


def test_localizers_alone_are_refused(tmp_path, volume):
    write_series(tmp_path, volume, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    refused(tmp_path, "slices of a volume, got only 8 localizers")


def test_mixed_orientations_are_refused(tmp_path, volume):
    def turn(index, dataset):
        if index > 5:
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(tmp_path, volume, change=turn)
    refused(tmp_path, "slices of one orientation, got 2 orientations")


def test_mixed_sizes_are_refused(tmp_path, volume):
    def crop(index, dataset):
        if index == 1:
            dataset.Rows = 4
            dataset.PixelData = dataset.PixelData[: 4 * 6 * 2]

    write_series(tmp_path, volume, change=crop)
    refused(tmp_path, "slices of one size, got 4 x 6, 5 x 6")


def test_colour_is_refused(tmp_path, volume):
    def colour(index, dataset):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration = 0

    write_series(tmp_path, volume, change=colour)
    refused(tmp_path, "one number per pixel, got a colour image")


def test_a_mosaic_is_refused(tmp_path, volume):
    write_series(tmp_path, volume, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    refused(tmp_path, "one slice per image.*, got a mosaic")


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_missing_position_is_named(tmp_path, volume, tag):
    write_series(tmp_path, volume, change=lambda _, dataset: delattr(dataset, tag))
    refused(tmp_path, "the tag .* in every slice, got none in 8 of 8")


def test_an_unknown_transfer_syntax_is_refused(tmp_path, volume):
    for path in write_series(tmp_path, volume):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    message = refused(tmp_path, "a transfer syntax of images")
    assert "1.2.840.10008.1.2.9" in message


def test_a_missing_decoder_is_named_with_its_package(tmp_path, volume, monkeypatch):
    write_series(tmp_path, volume)
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    monkeypatch.setattr(pydicom.pixels.get_decoder(JPEGLosslessSV1), "_available", {})
    refused(tmp_path, "a decoder for JPEG Lossless.*pip install python-gdcm")


def test_a_file_packed_as_a_whole_is_refused_before_it_is_unpacked(tmp_path, volume):
    for path in write_series(tmp_path, volume):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    refused(tmp_path, "Deflated")


@pytest.mark.parametrize("part", [0.2, 0.6, 0.97])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, volume, part):
    path = write_series(tmp_path, volume)[4]
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(tmp_path, "image0")


def test_an_empty_file_named_dcm_is_refused(tmp_path, volume):
    write_series(tmp_path, volume)
    (tmp_path / "lost.dcm").touch()
    refused(tmp_path, "lost.dcm: expected a DICOM file")


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


def test_folders_without_dicom_and_missing_ones_are_refused(tmp_path):
    refused(tmp_path, "DICOM slices, got none")
    refused(tmp_path / "case.zip", "no such file")


def test_numbers_that_cannot_be_are_refused(tmp_path, volume):
    write_series(tmp_path / "a", volume, PixelSpacing=[0, 1])
    refused(tmp_path / "a", "pixel spacing above 0")
    write_series(tmp_path / "b", volume, Rows=60000, Columns=60000)
    refused(tmp_path / "b", "at most")
    write_series(tmp_path / "c", volume, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    refused(tmp_path / "c", "perpendicular")


def enhanced(folder, volume):
    """All slices in one multi-frame MR file, the last first, each with a slope of its own."""
    paths = write_series(folder / "single", volume)
    slices = [pydicom.dcmread(path) for path in paths][::-1]
    whole = slices[0]
    whole.file_meta.MediaStorageSOPClassUID = whole.SOPClassUID = EnhancedMRImageStorage
    whole.Modality, whole.NumberOfFrames = "MR", len(slices)
    frames = []
    for index, one in enumerate(slices):
        frame, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = one.ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = index + 1, 0, "US"
        frame.PlanePositionSequence = Sequence([place])
        frame.PixelValueTransformationSequence = Sequence([values])
        frames.append(frame)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    orientation.ImageOrientationPatient = whole.ImageOrientationPatient
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    whole.PerFrameFunctionalGroupsSequence = Sequence(frames)
    whole.SharedFunctionalGroupsSequence = Sequence([shared])
    whole.PixelData = b"".join(one.PixelData for one in slices)
    for field in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                  "RescaleSlope", "RescaleIntercept", "SliceThickness"):  # fmt: skip
        delattr(whole, field)
    path = folder / "enhanced.dcm"
    whole.save_as(path)
    return path


def test_an_enhanced_multi_frame_file_reads_as_its_slices_do(tmp_path, volume):
    small = Volume(volume.array // 100, volume.affine)
    read = read_volume(enhanced(tmp_path, small))
    assert np.array_equal(read.array, small.array * np.arange(8, 0, -1, dtype=np.int16))
    assert np.allclose(read.affine, small.affine)
