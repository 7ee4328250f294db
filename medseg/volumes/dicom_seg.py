"""Write a label map as a DICOM segmentation (SEG) that refers to the images it was made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.files import atomic_path
from medseg.volumes.dicom_library import guarded, highdicom_for
from medseg.volumes.dicom_series import Series
from medseg.volumes.dicom_source import MAKER, Algorithm, Placed, colour_of, placed_on
from medseg.volumes.snomed import Code, Concept, concepts_of
from medseg.volumes.volume import Volume

SERIES_NUMBER = 9001  # beyond what scanners give, so that it stands last in a list
LONGEST_LABEL = 64


def write_seg(
    path: str | Path,
    label_map: Volume,
    series: Series,
    labels: Mapping[str, int],
    *,
    algorithm: Algorithm | None = None,
) -> None:
    """Write a label map as DICOM SEG, one binary segment per organ, whole or not at all.

    Patient, study and frame of reference are those of the series, as the standard asks. An organ
    without a voxel gets no segment; if there is none at all, every organ gets an empty one, since a
    segmentation has to have some.

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
    highdicom = highdicom_for(path)
    placed = placed_on(label_map, series, labels, path)
    algorithm = algorithm or Algorithm()
    organs = [name for name in labels if labels[name] in placed.present] or list(labels)
    frames, positions = _frames(highdicom, placed, [labels[name] for name in organs])
    with guarded(series.path, "headers that a segmentation can refer to"):
        segmentation = highdicom.seg.Segmentation(
            source_images=list(placed.images),
            pixel_array=frames,
            plane_positions=positions,
            omit_empty_frames=bool(placed.present),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_descriptions(highdicom, organs, algorithm),
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=algorithm.model[:64],
            software_versions=algorithm.version,
            device_serial_number=f"{MAKER}-{algorithm.version}",
            content_description=f"Organs drawn by {algorithm.model}"[:64],
            content_label="ORGANS",
            series_description=f"{MAKER} {algorithm.model}"[:64],
        )
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _frames(
    highdicom: Any, placed: Placed, values: Sequence[int]
) -> tuple[np.ndarray, list[Any] | None]:
    """The label map numbered 1, 2, … in the order of the source's frames; positions if not all."""
    if not placed.present:  # one slice will do to say that there is nothing
        plane = placed.planes[0]
        position = highdicom.PlanePositionSequence("PATIENT", list(plane.position or ()))
        return np.zeros((1, *plane.shape), np.uint8), [position]
    kind = np.uint8 if len(values) < 256 else np.uint16
    numbers = np.zeros(max(values) + 1, kind)
    numbers[list(values)] = np.arange(1, len(values) + 1)
    frames = np.empty(placed.frames.shape, kind)
    one_file = len(placed.images) == 1  # a multi-frame file has an order of its own
    for index, plane in enumerate(placed.planes):
        frames[plane.frame if one_file else index] = numbers[placed.frames[index]]
    return frames, None


def _descriptions(highdicom: Any, organs: Sequence[str], algorithm: Algorithm) -> list[Any]:
    concepts = concepts_of(organs)
    identity = highdicom.AlgorithmIdentificationSequence(
        name=algorithm.model[:64],
        family=_coded(Code("113131", "Artificial Intelligence", "DCM"), highdicom),
        version=algorithm.version,
        source=MAKER,
    )
    return [
        _description(highdicom, number, name, concepts[name], identity)
        for number, name in enumerate(organs, start=1)
    ]


def _description(highdicom: Any, number: int, name: str, concept: Concept, identity: Any) -> Any:
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:LONGEST_LABEL],
        segmented_property_category=_coded(concept.category, highdicom),
        segmented_property_type=_coded(concept.kind, highdicom),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identity,
        anatomic_regions=[_coded(concept.region, highdicom)] if concept.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*colour_of(number - 1)),
    )
    if concept.modifiers:
        modifiers = [_coded(code, highdicom) for code in concept.modifiers]
        description.SegmentedPropertyTypeModifierCodeSequence = modifiers
    return description


def _coded(code: Code, highdicom: Any) -> Any:
    return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning)
