"""Reading and writing volumes with their geometry."""

from medseg.volumes.dicom_series import (
    Series,
    choose_series,
    find_series,
    holds_dicom,
    is_dicom_path,
    read_series,
)
from medseg.volumes.orientation import in_axes_of
from medseg.volumes.read import SUFFIXES, read_header, read_volume, stem_of, suffix_of
from medseg.volumes.volume import Header, Volume, corner_distance_mm, spacing_of
from medseg.volumes.write import write_label_map, write_volume

__all__ = [
    "SUFFIXES",
    "Header",
    "Series",
    "Volume",
    "choose_series",
    "corner_distance_mm",
    "find_series",
    "holds_dicom",
    "in_axes_of",
    "is_dicom_path",
    "read_header",
    "read_series",
    "read_volume",
    "spacing_of",
    "stem_of",
    "suffix_of",
    "write_label_map",
    "write_volume",
]
