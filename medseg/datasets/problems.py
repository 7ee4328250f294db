"""What can be wrong with a data set: every kind by name, its weight and what to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.case import Source

Severity = Literal["error", "warning", "note"]

KINDS: dict[str, tuple[Severity, str]] = {
    # files
    "unreadable": ("error", "copy or download the file again"),
    "empty-file": ("error", "copy or download the file again"),
    "missing-file": ("error", "add the file, or take it off the list that names it"),
    "case-missing": ("warning", "add it, or expect figures that differ from the published split"),
    "image-without-label": ("error", "add the label, or move the image away"),
    "label-without-image": ("error", "add the image, or move the label away"),
    "ambiguous-pair": ("error", "leave one image and one label per case"),
    "surplus-file": ("warning", "list it, or move it away"),
    "slice-missing": ("error", "add the slice: neighbours and volumes would be wrong without it"),
    "slice-shapes": ("error", "write the slices of a case in one shape"),
    "path-outside": ("error", "keep the data inside its folder and name it relative to that"),
    "metadata": ("error", "mend the entry"),
    "count-differs": ("note", "see whether the download is whole"),
    # geometry
    "dimensions": ("error", "write one 3D volume per file"),
    "voxel-type": ("error", "write one real number per voxel"),
    "shape-mismatch": ("error", "resample the label onto the image's grid"),
    "spacing-mismatch": ("error", "give the label the geometry of its image, or resample it"),
    "direction-mismatch": ("error", "give the label the geometry of its image, or reorient it"),
    "origin-mismatch": ("error", "give the label the geometry of its image, or resample it"),
    "affine-invalid": ("error", "write a geometry whose three axes have finite, positive spacing"),
    "direction-skewed": ("error", "resample onto a grid whose axes are at right angles"),
    "spacing-absurd": ("warning", "see whether the spacing is in millimetres"),
    "units-not-mm": ("warning", "write the header in millimetres: other units are not converted"),
    "no-orientation": ("warning", "set the sform or qform code: the orientation is a guess"),
    "qform-sform": ("warning", "make both say the same: programs differ in which they believe"),
    "pixdim-differs": ("warning", "make both say the same: programs differ in which they believe"),
    "single-slice": ("note", "see whether a slice was meant to be a volume"),
    # image values
    "nan": ("error", "replace the voxels, or export the volume again"),
    "infinity": ("error", "replace the voxels, or export the volume again"),
    "constant-image": ("error", "export the image again"),
    # label values
    "label-unknown-value": ("error", "name the value in the label map, or relabel"),
    "label-not-integer": ("error", "resample labels by nearest neighbour, never linearly"),
    "label-negative": ("error", "relabel with 0 as background and positive values"),
    "label-empty": ("warning", "see whether the organ is truly outside the image"),
    "label-no-background": ("warning", "see whether the values are shifted or 0 was relabelled"),
    "labels-unnamed": ("note", "name the values, in dataset.json or labels.json"),
    "organ-never": ("note", "leave the organ out of the experiment, or see where it went"),
    "swapped": ("error", "exchange the two files"),
    "image-equals-label": ("error", "put the image in place of the copy of its label"),
    "image-like-label": ("warning", "see whether a label map was filed as the image"),
    # across cases
    "duplicate-case": ("error", "give every case a name of its own"),
    "duplicate-image": ("warning", "keep one of the two"),
    "image-in-two-splits": ("error", "keep it in one split: the score would count training data"),
    "patient-in-two-splits": ("error", "keep a patient's cases together in one split"),
    "split-unknown-case": ("error", "take the name off the split, or add the case"),
    "case-without-split": ("note", "name it in a split, or it is not used"),
    "empty-split": ("warning", "put cases in it"),
    "no-cases": ("error", "see whether this is the data set's folder"),
    "not-examined": ("error", "try again with fewer workers"),
}
"""Kind → how grave it is and what to do about it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a data set.

    Attributes:
        kind: What it is, a key of :data:`KINDS`.
        path: The file or folder it concerns.
        wanted: What was expected there.
        got: What was found instead.
        case_id: The case it concerns; empty if it is none's alone.
        split: The split whose cases it spoils; empty means every split.
    """

    kind: str
    path: str
    wanted: str
    got: str
    case_id: str = ""
    split: str = ""

    @property
    def severity(self) -> Severity:
        """``"error"`` must be mended, ``"warning"`` looked at, ``"note"`` is good to know."""
        return KINDS[self.kind][0]

    @property
    def advice(self) -> str:
        """What to do about it."""
        return KINDS[self.kind][1]

    @property
    def message(self) -> str:
        """One line: the file, what was wanted, what came, what to do."""
        return f"{self.path}: expected {self.wanted}, got {self.got}; {self.advice}"

    def to_plain(self) -> dict[str, str]:
        """As plain data for JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "case_id": self.case_id,
            "split": self.split,
            "path": self.path,
            "wanted": self.wanted,
            "got": self.got,
            "advice": self.advice,
            "message": self.message,
        }


def first_path(source: Source) -> Path:
    """The file that stands for a source: itself, or the first of its slices."""
    if isinstance(source, Path):
        return source
    return source[0] if source else Path("(no file)")
