"""DICOM series made for tests: valid CT slices from a volume, and ways to spoil them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from medseg.volumes import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PATIENT = {
    "PatientName": "Quixote^Alonso",
    "PatientID": "MANCHA-1605",
    "PatientBirthDate": "15470929",
}
Change = Callable[[int, Dataset], None]


def right_handed(volume: Volume) -> Volume:
    """The same voxels with slices in the order that makes the axes right-handed, as DICOM's are."""
    if np.linalg.det(volume.affine[:3, :3]) > 0:
        return volume
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = volume.array.shape[2] - 1
    return Volume(volume.array[:, :, ::-1], volume.affine @ flip)


def write_series(
    folder: Path,
    volume: Volume,
    *,
    change: Change | None = None,
    intercept: int = 0,
    **fields: object,
) -> list[Path]:
    """Write a volume's slices as CT images, in random order of names and instance numbers.

    Args:
        folder: Made if missing.
        volume: Whole numbers that fit int16 after ``intercept`` is taken away; either handedness,
            since every slice says by itself where it is.
        change: Called with slice index and dataset before a slice is written.
        intercept: Rescale intercept.
        **fields: Elements that all slices get.
    """
    folder.mkdir(parents=True, exist_ok=True)
    affine, spacing = LPS_TO_RAS @ volume.affine, volume.spacing
    shared = {
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(), **fields,
    }  # fmt: skip
    count = volume.array.shape[2]
    order = np.random.default_rng(count).permutation(count)
    paths = []
    for index in range(count):
        dataset = _slice(volume, affine, spacing, index, intercept)
        for field, value in shared.items():
            setattr(dataset, field, value)
        dataset.InstanceNumber = int(order[index]) + 1
        if change:
            change(index, dataset)
        path = folder / f"image{order[index]:04d}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(
    volume: Volume,
    affine: np.ndarray,
    spacing: tuple[float, float, float],
    index: int,
    intercept: int,
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    for field, value in PATIENT.items():
        setattr(dataset, field, value)
    dataset.PatientSex, dataset.StudyID, dataset.AccessionNumber = "O", "1", "A1"
    dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20240101", "101010", ""
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber = "CT", "nobody", 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
    dataset.SliceThickness = f"{spacing[2]:.6f}"
    directions = affine[:3, :2] / np.array(spacing[:2])
    dataset.ImageOrientationPatient = [f"{number:.10f}"[:16] for number in directions.T.ravel()]
    position = affine[:3, 3] + index * affine[:3, 2]
    dataset.ImagePositionPatient = [f"{number:.6f}"[:16] for number in position]
    stored = volume.array[:, :, index].T.astype(np.int16) - intercept
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, intercept
    dataset.PixelData = stored.astype("<i2").tobytes()
    return dataset


def write_enhanced(folder, volume):
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
