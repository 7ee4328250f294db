"""Segmentations and structure sets as others read them: highdicom, SimpleITK, dcmqi, dciodvfy."""

import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import matplotlib.path
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medseg.errors import InputError
from medseg.volumes import Volume, find_series, read_series, read_volume
from medseg.volumes.dicom_rtstruct import write_rtstruct
from medseg.volumes.dicom_seg import write_seg
from medseg.volumes.dicom_source import Algorithm
from tests.volumes.dicom_writer import LPS_TO_RAS, PATIENT, write_enhanced, write_series

LABELS = {"liver": 7, "left kidney": 2, "widget": 300, "spleen": 4}
DCMQI = Path(sys.executable).with_name("segimage2itkimage")
dciodvfy = pytest.mark.skipif(
    not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian package dicom3tools)"
)


@pytest.fixture
def scan(tmp_path):
    """A series of 8 x 6 x 5 voxels, and a label map with a hole and without a spleen.

    SimpleITK loses the last bits of a segmentation whose frames are no whole number of bytes.
    """
    affine = np.diag([-0.8, -0.7, 2.5, 1.0])
    affine[:3, 3] = (40.0, 30.0, -100.0)
    array = np.zeros((8, 6, 5), np.int16)
    write_series(tmp_path / "series", Volume(array, affine))
    (series,) = find_series(tmp_path / "series")
    label = np.zeros(array.shape, np.uint16)
    label[1:6, 1:5, 1:4] = 7
    label[3, 2, 2] = 0
    label[0, 0, 0], label[7, 5, 4] = 2, 300
    return series, Volume(label, affine)


def label_map_of(path, labels):
    """A segmentation's voxels by highdicom, with the label values they were written from."""
    segmentation = highdicom.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=True)
    values = np.zeros(len(segmentation.segment_numbers) + 1, np.int64)
    for number in segmentation.segment_numbers:
        values[number] = labels[segmentation.get_segment_description(number).segment_label]
    return Volume(values[volume.array], LPS_TO_RAS @ volume.affine)


def assert_same_voxels(found, label_map):
    """Every marked voxel of one lies on one of the other with the same value, and none is left."""

    def marked(volume):
        voxels = np.argwhere(volume.array)
        places = (volume.affine @ np.column_stack([voxels, np.ones(len(voxels))]).T)[:3].T
        values = volume.array[tuple(voxels.T)]
        return sorted(
            (*place.round(2) + 0.0, int(value)) for place, value in zip(places, values, strict=True)
        )

    assert marked(found) == marked(label_map)


def test_a_segmentation_lies_on_the_right_voxels_for_highdicom(tmp_path, scan):
    series, label_map = scan
    write_seg(tmp_path / "seg.dcm", label_map, series, LABELS)
    assert_same_voxels(label_map_of(tmp_path / "seg.dcm", LABELS), label_map)


def test_a_segmentation_lies_on_the_right_voxels_for_simpleitk(tmp_path, scan):
    """SimpleITK stacks the frames; where each lies, and what it shows, is in the header."""
    series, label_map = scan
    write_seg(tmp_path / "seg.dcm", label_map, series, LABELS)
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "seg.dcm"))) > 0
    header = pydicom.dcmread(tmp_path / "seg.dcm")
    found = np.zeros(label_map.array.shape, np.int64)
    for frame, group in zip(frames, header.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        z = group.PlanePositionSequence[0].ImagePositionPatient[2]
        name = header.SegmentSequence[number - 1].SegmentLabel
        found[:, :, round((z + 100) / 2.5)][frame.T] = LABELS[name]
    assert np.array_equal(found, label_map.array)


@pytest.mark.skipif(not DCMQI.exists(), reason="needs dcmqi")
def test_a_segmentation_lies_on_the_right_voxels_for_dcmqi(tmp_path, scan):
    series, label_map = scan
    write_seg(tmp_path / "seg.dcm", label_map, series, LABELS)
    command = [DCMQI, "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path]
    subprocess.run([*command, "--outputType", "nrrd"], check=True, capture_output=True)
    for number, value in enumerate((7, 2, 300), start=1):
        found = read_volume(tmp_path / f"{number}.nrrd")
        found = Volume(np.where(found.array > 0, value, 0), found.affine)
        only = Volume(np.where(label_map.array == value, value, 0), label_map.affine)
        assert_same_voxels(found, only)


def test_segments_carry_codes_names_and_who_drew_them(tmp_path, scan):
    series, label_map = scan
    algorithm = Algorithm("TransUNet synapse", "1.2.3")
    write_seg(tmp_path / "seg.dcm", label_map, series, LABELS, algorithm=algorithm)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    liver, kidney, widget = seg.SegmentSequence
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == list(LABELS)[:3]
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert widget.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    drawn = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert (drawn.AlgorithmName, drawn.AlgorithmVersion) == ("TransUNet synapse", "1.2.3")
    assert len({tuple(segment.RecommendedDisplayCIELabValue) for segment in (liver, kidney)}) == 2


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_patient_and_study_are_those_of_the_source_and_every_image_is_named(tmp_path, scan, write):
    series, label_map = scan
    write(tmp_path / "out.dcm", label_map, series, LABELS)
    sources = [pydicom.dcmread(path) for path in series.path.iterdir()]
    out = pydicom.dcmread(tmp_path / "out.dcm")
    for field in (*PATIENT, "PatientSex", "StudyInstanceUID", "StudyDate", "StudyID",
                  "AccessionNumber", "FrameOfReferenceUID"):  # fmt: skip
        assert out[field].value == sources[0][field].value
    assert out.SeriesInstanceUID != sources[0].SeriesInstanceUID
    if write is write_seg:
        images = out.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    else:
        study = out.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        images = study.RTReferencedSeriesSequence[0].ContourImageSequence
    named = {image.ReferencedSOPInstanceUID for image in images}
    assert named == {source.SOPInstanceUID for source in sources}


def stripped(index, dataset):
    """Everything gone that an image may lose and still be read."""
    for field in (*PATIENT, "PatientSex", "StudyID", "AccessionNumber", "StudyDate", "StudyTime",
                  "ReferringPhysicianName", "StudyInstanceUID", "SeriesInstanceUID",
                  "FrameOfReferenceUID", "SOPClassUID", "Modality", "Manufacturer",
                  "SeriesNumber", "ImageType", "SliceThickness"):  # fmt: skip
        delattr(dataset, field)


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_a_source_stripped_of_its_identity_can_still_be_referred_to(tmp_path, scan, write):
    _, label_map = scan
    blank = Volume(np.zeros_like(label_map.array), label_map.affine)
    write_series(tmp_path / "stripped", blank, change=stripped)
    (series,) = find_series(tmp_path / "stripped")
    studies = set()
    for name in ("one.dcm", "two.dcm"):
        write(tmp_path / name, label_map, series, LABELS)
        out = pydicom.dcmread(tmp_path / name)
        studies.add((out.StudyInstanceUID, out.FrameOfReferenceUID))
        assert out.PatientID == ""
    assert len(studies) == 1
    if shutil.which("dciodvfy"):
        assert errors_of(tmp_path / "one.dcm") == []


def test_a_date_that_is_none_is_left_empty_and_reaches_no_log(tmp_path, scan, capfd, caplog):
    """It makes pydicom warn, and quote it."""
    series, label_map = scan
    for path in series.path.iterdir():
        path.write_bytes(path.read_bytes().replace(b"15470929", b"MANCHEGO"))
    read_series(find_series(series.path)[0])
    for write in (write_seg, write_rtstruct):
        write(tmp_path / "out.dcm", label_map, series, LABELS)
        assert pydicom.dcmread(tmp_path / "out.dcm").PatientBirthDate == ""
    captured = capfd.readouterr()
    assert "MANCHEGO" not in captured.out + captured.err + caplog.text


def test_a_contour_of_more_than_64_kilobytes_is_kept(tmp_path):
    """Which explicit value representation has no room for; a sieve has one long outline."""
    sieve = (np.random.default_rng(0).random((80, 80, 1)) < 0.8).astype(np.uint8)
    label_map = Volume(sieve, np.diag([-1.0, -1.0, 1.0, 1.0]))
    write_series(tmp_path / "series", label_map)
    (series,) = find_series(tmp_path / "series")
    write_rtstruct(tmp_path / "rt.dcm", label_map, series, {"sieve": 1})
    structures = pydicom.dcmread(tmp_path / "rt.dcm")
    contours = structures.ROIContourSequence[0].ContourSequence
    assert max(len(str(contour.ContourData)) for contour in contours) > 1 << 16
    assert np.array_equal(mask_of_contours(structures, 0, label_map), sieve == 1)


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_a_map_without_any_organ_is_written(tmp_path, scan, write):
    series, label_map = scan
    empty = Volume(np.zeros_like(label_map.array), label_map.affine)
    write(tmp_path / "out.dcm", empty, series, LABELS)
    out = pydicom.dcmread(tmp_path / "out.dcm")
    if write is write_seg:
        assert [segment.SegmentLabel for segment in out.SegmentSequence] == list(LABELS)
        assert not out.pixel_array.any()
    else:
        names = [region.ROIName for region in out.StructureSetROISequence]
        assert names == list(LABELS)
        assert not any("ContourSequence" in region for region in out.ROIContourSequence)


def test_a_multi_frame_source_keeps_its_order_of_frames(tmp_path, scan):
    _, label_map = scan
    label_map = Volume((label_map.array > 0).astype(np.uint8) * 7, label_map.affine)
    blank = Volume(np.zeros_like(label_map.array), label_map.affine)
    (series,) = find_series(write_enhanced(tmp_path, blank))
    write_seg(tmp_path / "seg.dcm", label_map, series, {"liver": 7})
    assert_same_voxels(label_map_of(tmp_path / "seg.dcm", {"liver": 7}), label_map)


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_a_mask_of_bool_is_written_as_the_same_mask_of_numbers_is(tmp_path, scan, write):
    series, label_map = scan
    mask = label_map.array == 7
    for name, array in (("bool", mask), ("number", mask.astype(np.uint8))):
        write(tmp_path / name, Volume(array, label_map.affine), series, {"liver": 1})
    one, other = (pydicom.dcmread(tmp_path / name) for name in ("bool", "number"))
    part = "PixelData" if write is write_seg else "ROIContourSequence"
    assert one[part] == other[part]


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
@pytest.mark.parametrize("charset", [None, "ISO_IR 100"])
def test_names_of_organs_in_any_script_are_kept_and_so_is_the_patients(
    tmp_path, scan, write, charset
):
    def in_charset(_, dataset):
        if charset:
            dataset.SpecificCharacterSet, dataset.PatientName = charset, "Müller^Jörg"

    series, label_map = scan
    write_series(
        tmp_path / "other", Volume(np.zeros((8, 6, 5)), label_map.affine), change=in_charset
    )
    (series,) = find_series(tmp_path / "other")
    write(tmp_path / "out.dcm", label_map, series, {"肝": 7, "Gefäß": 2, "widget": 300})
    found = pydicom.dcmread(tmp_path / "out.dcm")
    if write is write_seg:
        names = [str(segment.SegmentLabel) for segment in found.SegmentSequence]
    else:
        names = [str(region.ROIName) for region in found.StructureSetROISequence]
    assert names == ["肝", "Gefäß", "widget"]
    assert found.PatientName == ("Müller^Jörg" if charset else PATIENT["PatientName"])


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, scan, write):
    series, label_map = scan
    moved = label_map.affine.copy()
    moved[0, 3] += 1
    out = tmp_path / "out.dcm"
    for wrong, match in (
        (Volume(label_map.array, moved), r"on the series' grid, got one 1\.00 mm away"),
        (Volume(label_map.array[1:], label_map.affine), "of shape"),
        (Volume(label_map.array.astype(float), label_map.affine), "whole numbers, got float64"),
    ):
        with pytest.raises(InputError, match=match):
            write(out, wrong, series, LABELS)
    with pytest.raises(
        InputError, match=r"a name for every value of the label map, got none for \[300\]"
    ):
        write(out, label_map, series, {"liver": 7, "left kidney": 2})
    assert not out.exists()


def mask_of_contours(structures, number, label_map):
    """An organ's voxels by filling its contours slice by slice with matplotlib."""
    mask = np.zeros(label_map.array.shape, bool)
    to_voxel = np.linalg.inv(LPS_TO_RAS @ label_map.affine)
    for contour in structures.ROIContourSequence[number].get("ContourSequence", []):
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        voxels = (to_voxel @ np.column_stack([points, np.ones(len(points))]).T)[:3].T
        (depth,) = {round(float(z), 3) for z in voxels[:, 2]}
        low = np.maximum(np.floor(voxels[:, :2].min(axis=0)).astype(int), 0)
        high = np.ceil(voxels[:, :2].max(axis=0)).astype(int) + 1
        part = mask[low[0] : high[0], low[1] : high[1], int(depth)]
        centres = np.argwhere(np.ones(part.shape, bool)) + low
        part ^= matplotlib.path.Path(voxels[:, :2]).contains_points(centres).reshape(part.shape)
    return mask


def test_contours_fill_the_right_voxels_hole_included(tmp_path, scan):
    series, label_map = scan
    write_rtstruct(tmp_path / "rt.dcm", label_map, series, LABELS)
    structures = pydicom.dcmread(tmp_path / "rt.dcm")
    names = [region.ROIName for region in structures.StructureSetROISequence]
    assert names == ["liver", "left kidney", "widget"]
    for number, name in enumerate(names):
        found = mask_of_contours(structures, number, label_map)
        assert np.array_equal(found, label_map.array == LABELS[name])
    shown = {contour.ContourImageSequence[0].ReferencedSOPInstanceUID
             for contour in structures.ROIContourSequence[0].ContourSequence}  # fmt: skip
    assert len(shown) == 3


@dciodvfy
@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
@pytest.mark.parametrize("filled", [True, False], ids=["organs", "nothing"])
def test_dciodvfy_finds_no_error(tmp_path, scan, write, filled):
    series, label_map = scan
    label_map = label_map if filled else Volume(label_map.array * 0, label_map.affine)
    write(tmp_path / "out.dcm", label_map, series, LABELS)
    assert errors_of(tmp_path / "out.dcm") == []


def errors_of(path):
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
