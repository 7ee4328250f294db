"""DICOM folders that are no volume, each with its reason."""

import shutil
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    generate_uid,
)

from medseg.errors import InputError
from medseg.volumes import (
    Volume,
    read_volume,
)
from medseg.volumes.dicom_library import guarded
from tests.volumes.dicom_writer import PATIENT, write_enhanced, write_series

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


def test_two_frames_of_one_file_at_one_position_are_not_called_the_same_image(tmp_path, volume):
    path = write_enhanced(tmp_path / "made", volume)
    dataset = pydicom.dcmread(path)
    frames = dataset.PerFrameFunctionalGroupsSequence
    frames[1].PlanePositionSequence = frames[0].PlanePositionSequence
    dataset.save_as(tmp_path / "two.dcm")
    refused(tmp_path / "two.dcm", r"several images at one position \(1 times\)")


def test_warnings_of_the_libraries_are_dropped_whatever_other_threads_do(recwarn):
    first, second = guarded("a"), guarded("b")
    first.__enter__()
    second.__enter__()  # as another thread does meanwhile
    first.__exit__(None, None, None)
    warnings.warn_explicit("Quixote^Alonso", UserWarning, "x.py", 1, "pydicom.valuerep")
    second.__exit__(None, None, None)
    warnings.warn_explicit("of our own", UserWarning, "y.py", 1, "medseg.training")
    assert [str(one.message) for one in recwarn] == ["of our own"]


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


def test_folders_without_dicom_and_missing_ones_are_refused(tmp_path):
    refused(tmp_path, "DICOM slices, got none")
    refused(tmp_path / "case.zip", "no such file")


def test_numbers_that_cannot_be_are_refused(tmp_path, volume):
    write_series(tmp_path / "a", volume, PixelSpacing=[0, 1])
    refused(tmp_path / "a", "pixel spacing above 0")
    write_series(tmp_path / "b", volume, Rows=60000, Columns=60000)
    refused(tmp_path / "b", "at most")
    write_series(tmp_path / "d", volume, RescaleSlope="1e300")
    refused(tmp_path / "d", "1 numbers as RescaleSlope")
    write_series(tmp_path / "c", volume, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    refused(tmp_path / "c", "perpendicular")
