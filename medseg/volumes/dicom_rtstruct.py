"""Write a label map as a DICOM structure set (RTSTRUCT): contours per organ and slice.

Holes are cut out through keyholes; see :mod:`medseg.volumes.contours`.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from medseg.files import atomic_path
from medseg.volumes.contours import outlines
from medseg.volumes.dicom_library import guarded, pydicom_for
from medseg.volumes.dicom_series import Series
from medseg.volumes.dicom_source import MAKER, Algorithm, Placed, colour_of, placed_on
from medseg.volumes.snomed import ANATOMICAL, Code, Concept, concepts_of
from medseg.volumes.volume import LPS_TO_RAS, Volume

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY_COMPONENT = (
    "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as RTSTRUCT refers to studies
)
SERIES_NUMBER = 9002
CONTOUR_DATA = 0x30060050
COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)  # fmt: skip


def write_rtstruct(
    path: str | Path,
    label_map: Volume,
    series: Series,
    labels: Mapping[str, int],
    *,
    algorithm: Algorithm | None = None,
) -> None:
    """Write a label map as RTSTRUCT, one region of interest per organ, whole or not at all.

    Patient, study and frame of reference are those of the series. An organ without a voxel is left
    out; if there is none at all, every organ is named without a contour, since a structure set has
    to have some.

    Args:
        path: File to be written.
        label_map: On the grid of the series, in any order of axes.
        series: The images it was made from; only their headers are read.
        labels: Organ name → value in ``label_map``.
        algorithm: Who drew the organs; medseg of this version if not said.

    Raises:
        InputError: If grids differ, a value has no name, or a header of the series cannot be used.
        ResourceError: If the disk is full.
    """
    path = Path(path)
    pydicom = pydicom_for(path)
    placed = placed_on(label_map, series, labels, path)
    algorithm = algorithm or Algorithm()
    organs = {name: value for name, value in labels.items() if value in placed.present} or labels
    with guarded(series.path, "headers that a structure set can refer to"):
        dataset = _frame_of(pydicom, placed, algorithm)
        concepts, outlined = concepts_of(organs), _outlined(placed)
        for number, (name, value) in enumerate(organs.items(), start=1):
            _add_organ(pydicom, dataset, number, name, concepts[name], algorithm)
            contours = [_contour(pydicom, placed, *found) for found in outlined[value]]
            if contours:
                dataset.ROIContourSequence[-1].ContourSequence = contours
    with atomic_path(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _outlined(placed: Placed) -> Mapping[int, list[tuple[int, np.ndarray]]]:
    """Label value → (slice, polygon) of every part with that value."""
    found: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    for index, frame in enumerate(placed.frames):
        for value, box in enumerate(find_objects(frame.astype(np.int32)), start=1):
            if box is not None:
                corner = np.array([box[1].start, box[0].start])
                polygons = outlines(frame[box] == value)
                found[value] += [(index, polygon + corner) for polygon in polygons]
    return found


def _contour(pydicom: Any, placed: Placed, index: int, polygon: np.ndarray) -> Any:
    indices = np.column_stack([polygon, np.full(len(polygon), index), np.ones(len(polygon))])
    points = (LPS_TO_RAS @ placed.affine @ indices.T)[:3].T
    contour = pydicom.Dataset()
    contour.ContourImageSequence = [_reference(pydicom, placed, index)]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    text = "\\".join(f"{number:.4f}" for number in points.ravel()).encode()
    text += b" " * (len(text) % 2)
    # as text, since pydicom's numbers take fifty times as much memory
    contour[CONTOUR_DATA] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(CONTOUR_DATA), "DS", len(text), text, 0, True, True
    )
    return contour


def _frame_of(pydicom: Any, placed: Placed, algorithm: Algorithm) -> Any:
    """A structure set without structures."""
    image, now = placed.images[0], datetime.now()
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    # explicit VR has no room for a contour of more than 64 kB
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    for field in COPIED:
        if field in image:
            dataset[field] = image[field]
    dataset.SOPClassUID = STRUCTURE_SET
    dataset.SOPInstanceUID = pydicom.uid.generate_uid(prefix=None)
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = pydicom.uid.generate_uid(prefix=None)
    dataset.SeriesNumber, dataset.InstanceNumber = SERIES_NUMBER, 1
    dataset.SeriesDescription = f"{MAKER} {algorithm.model}"[:64]
    dataset.OperatorsName = ""
    dataset.Manufacturer, dataset.ManufacturerModelName = MAKER, algorithm.model[:64]
    dataset.SoftwareVersions = algorithm.version
    dataset.StructureSetLabel = "ORGANS"
    dataset.StructureSetDate = dataset.SeriesDate = f"{now:%Y%m%d}"
    dataset.StructureSetTime = dataset.SeriesTime = f"{now:%H%M%S}"
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_references(pydicom, placed)]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    return dataset


def _references(pydicom: Any, placed: Placed) -> Any:
    """The frame of reference, with every image of the series."""
    image = placed.images[0]
    series = pydicom.Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    whole = range(len(placed.planes)) if len(placed.images) > 1 else [0]
    series.ContourImageSequence = [
        _reference(pydicom, placed, index, whole=len(placed.images) == 1) for index in whole
    ]
    study = pydicom.Dataset()
    study.ReferencedSOPClassUID = STUDY_COMPONENT
    study.ReferencedSOPInstanceUID = image.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = pydicom.Dataset()
    frame.FrameOfReferenceUID = image.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(pydicom: Any, placed: Placed, index: int, *, whole: bool = False) -> Any:
    """A slice, or all of its file, as structure sets name them."""
    one_file = len(placed.images) == 1
    image, plane = placed.images[0 if one_file else index], placed.planes[index]
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    if plane.frames > 1 and not whole:
        reference.ReferencedFrameNumber = plane.frame + 1
    return reference


def _add_organ(
    pydicom: Any, dataset: Any, number: int, name: str, concept: Concept, algorithm: Algorithm
) -> None:
    """Name an organ in the three lists of a structure set; its contours are for the caller."""
    region = pydicom.Dataset()
    region.ROINumber, region.ROIName = number, name[:64]
    region.ReferencedFrameOfReferenceUID = dataset.FrameOfReferenceUID
    region.ROIGenerationAlgorithm = "AUTOMATIC"
    region.ROIGenerationDescription = f"{MAKER} {algorithm.version} {algorithm.model}"[:64]
    dataset.StructureSetROISequence.append(region)
    contour = pydicom.Dataset()
    contour.ReferencedROINumber = number
    contour.ROIDisplayColor = list(colour_of(number - 1))
    dataset.ROIContourSequence.append(contour)
    observation = pydicom.Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.ROIObservationLabel = name[:16]
    observation.RTROIInterpretedType = "ORGAN" if concept.category == ANATOMICAL else ""
    observation.ROIInterpreter = ""
    code = _coded(pydicom, concept.kind)
    if concept.modifiers:
        code.SegmentedPropertyTypeModifierCodeSequence = [
            _coded(pydicom, modifier) for modifier in concept.modifiers
        ]
    observation.RTROIIdentificationCodeSequence = [code]
    dataset.RTROIObservationsSequence.append(observation)


def _coded(pydicom: Any, code: Code) -> Any:
    dataset = pydicom.Dataset()
    dataset.CodeValue, dataset.CodingSchemeDesignator = code.value, code.scheme
    dataset.CodeMeaning = code.meaning
    return dataset
