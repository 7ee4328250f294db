"""Images and labels paired by file name, the most literal reading of the names first."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.datasets.problems import Problem
from medseg.volumes import stem_of

LABEL_WORDS = "labels?|seg|segs|segmentations?|masks?|gt|truth|groundtruth|annotations?|manual"
IMAGE_WORDS = "images?|img|imgs|volumes?|vol|scans?|ct|mri?"
LABEL_NAME = re.compile(rf"(?:^|[-_. ])(?:{LABEL_WORDS})(?=$|[-_. \d])", re.IGNORECASE)
PREFIX = re.compile(rf"^(?:{LABEL_WORDS}|{IMAGE_WORDS})(?:[-_. ]+|(?=\d)|$)", re.IGNORECASE)
SUFFIX = re.compile(rf"[-_. ]+(?:{LABEL_WORDS}|{IMAGE_WORDS})$", re.IGNORECASE)
CHANNEL = re.compile(r"_0000$")


@dataclass(frozen=True)
class Pairs:
    """Files paired by case id, and those left over, by case id too."""

    pairs: Mapping[str, tuple[Path, Path]]
    lone_images: Mapping[str, Path] = field(default_factory=dict)
    lone_labels: Mapping[str, Path] = field(default_factory=dict)
    ambiguous: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def problems(self) -> list[Problem]:
        """What has no partner, or more than one."""
        wanted = "one image and one label"
        ambiguous = [
            Problem("ambiguous-pair", str(p[0]), wanted, ", ".join(x.name for x in p), case_id)
            for case_id, p in self.ambiguous.items()
        ]
        images = [lone_image(path, case_id) for case_id, path in self.lone_images.items()]
        labels = [lone_label(path, case_id) for case_id, path in self.lone_labels.items()]
        return ambiguous + images + labels


def lone_image(path: Path, case_id: str, split: str = "") -> Problem:
    """The problem of an image whose label is not there."""
    return Problem("image-without-label", str(path), "a label for it", "none", case_id, split)


def lone_label(path: Path, case_id: str = "", split: str = "") -> Problem:
    """The problem of a label whose image is not there."""
    return Problem("label-without-image", str(path), "an image for it", "none", case_id, split)


def is_label_name(path: Path) -> bool:
    """Whether a file's name says that it holds labels: ``ct_3_seg.nii.gz``."""
    return LABEL_NAME.search(stem_of(path)) is not None


def name_of(path: Path, folder: Path) -> str:
    """The name a file is known by below its folder: subfolders and stem, joined by ``/``."""
    return "/".join([*path.relative_to(folder).parts[:-1], stem_of(path)])


def pair(images: Mapping[Path, str], labels: Mapping[Path, str]) -> Pairs:
    """Pair files by their names.

    Whole names are compared first; then names without a closing word (``_seg``, ``-image``),
    then without nnU-Net's channel ``_0000``, then without an opening word (``img``, ``label_``).

    Args:
        images: Image file → the name it is known by (:func:`name_of`).
        labels: The same for labels.
    """
    pairs: dict[str, tuple[Path, Path]] = {}
    ambiguous: dict[str, Sequence[Path]] = {}
    left, right = dict(images), dict(labels)
    for read in READINGS:
        by_key, labels_by_key = _group(left, read), _group(right, read)
        for key in sorted(by_key.keys() & labels_by_key.keys()):
            both = by_key[key] + labels_by_key[key]
            if len(both) == 2 and _case_id(key) not in pairs:
                pairs[_case_id(key)] = (both[0], both[1])
            else:
                ambiguous[_case_id(key)] = both
            for path in both:
                left.pop(path, None)
                right.pop(path, None)
    lone = {_case_id(name): path for path, name in left.items()}
    lone_labels = {_case_id(name): path for path, name in right.items()}
    return Pairs(dict(sorted(pairs.items())), lone, lone_labels, ambiguous)


def _group(files: Mapping[Path, str], read: Callable[[str], str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path, name in files.items():
        groups.setdefault(read(name), []).append(path)
    return groups


def _case_id(key: str) -> str:
    return key.replace("/", "_")


def _whole(name: str) -> str:
    return name


def _without_suffix(name: str) -> str:
    return _strip(name, SUFFIX)


def _without_channel(name: str) -> str:
    return _strip(name, SUFFIX, CHANNEL)


def _without_prefix(name: str) -> str:
    return _strip(name, SUFFIX, PREFIX)


def _core(name: str) -> str:
    return _strip(name, SUFFIX, CHANNEL, PREFIX)


READINGS = (_whole, _without_suffix, _without_channel, _without_prefix, _core)


def _strip(name: str, *patterns: re.Pattern[str]) -> str:
    """Take the patterns off the last part of a name until none fits any more."""
    *folders, last = name.split("/")
    before = None
    while last != before:
        before = last
        for pattern in patterns:
            last = pattern.sub("", last)
    return "/".join([*folders, last] if last else folders) or "case"
