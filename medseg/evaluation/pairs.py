"""Which prediction belongs to which truth, and what the values of both mean."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medseg.case import Source, read_cases
from medseg.errors import InputError, UsageError
from medseg.evaluation.label_maps import (
    MANIFEST,
    checked_labels,
    labels_beside,
    with_regions,
)
from medseg.files import read_json
from medseg.metrics.case import LabelValue
from medseg.volumes import stem_of, suffix_of
from medseg.volumes.read import ARRAYS

Files = str | Path | Sequence[tuple[str | Path, str | Path]]


@dataclass(frozen=True)
class Pair:
    """A case with its truth and, unless it is missing, its prediction.

    Attributes:
        case_id: What the case is called in the results.
        label: The reference label map.
        prediction: The predicted label map, or ``None``.
        labels: Organ name → value in the prediction; a region has several.
        truth_labels: Organ name → value in the reference; empty means: not told.
        image: The image of both, for the report, or ``None``.
        reason: Why there is no prediction.
    """

    case_id: str
    label: Source
    prediction: Path | None = None
    labels: Mapping[str, LabelValue] = field(default_factory=dict)
    truth_labels: Mapping[str, LabelValue] = field(default_factory=dict)
    image: Source | None = None
    reason: str = ""

    def __str__(self) -> str:
        return self.case_id


def find_pairs(
    predictions: Files,
    truth: str | Path | None,
    *,
    labels: Mapping[str, LabelValue] | None = None,
    truth_labels: Mapping[str, LabelValue] | None = None,
    images: str | Path | None = None,
    regions: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> tuple[list[Pair], list[str]]:
    """One pair per truth case, and the names of the predictions that have no truth.

    Args: as of :func:`medseg.evaluation.evaluate.evaluate`, and ``regions`` of its ``Scoring``.

    Raises:
        InputError: If nothing fits together or the organs are named nowhere.
        UsageError: If ``labels`` or ``truth_labels`` make no sense.
    """
    if isinstance(predictions, str | Path):
        if truth is None:
            raise InputError(predictions, "truth to compare it with", "none")
        pairs, surplus = _match(Path(predictions), Path(truth))
        beside = Path(predictions) if Path(predictions).is_dir() else Path(predictions).parent
    else:
        pairs, surplus = _given(predictions), []
        beside = pairs[0].prediction.parent if pairs[0].prediction else Path()
    manifest = _manifest(beside)
    pairs = [_unless_failed(pair, manifest) for pair in pairs]
    if images is None:
        pairs = [_with_noted_image(pair, manifest) for pair in pairs]
    else:
        files = volumes_in(Path(images))
        pairs = [_with_image(pair, files) for pair in pairs]
    named = _with_labels(pairs, beside, labels, truth_labels)
    return [_with_regions(pair, regions) for pair in named], surplus


def volumes_in(source: Path) -> dict[str, Path]:
    """Stem → file of a volume or of every volume in a folder.

    A NumPy or HDF5 array beside a volume of the same stem holds something else (nnU-Net keeps
    probabilities so) and is left out.

    Raises:
        InputError: If there is none, or two have one stem.
    """
    if not source.is_dir():
        if not source.is_file():
            raise InputError(source, "a label map or a folder of them", "no such file")
        return {stem_of(source): source}
    found: dict[str, Path] = {}
    files = [path for path in sorted(source.iterdir()) if _is_volume(path)]
    for path in sorted(files, key=lambda path: suffix_of(path) in ARRAYS):
        other = found.setdefault(stem_of(path), path)
        if other != path and suffix_of(path) not in ARRAYS:
            raise InputError(source, "one file per case", f"{other.name} and {path.name}")
    if not found:
        raise InputError(source, "label maps (.nii.gz, .nii, .nrrd, .mha)", "none")
    return found


def _match(predictions: Path, truth: Path) -> tuple[list[Pair], list[str]]:
    files, cases = volumes_in(predictions), _truth(truth)
    if predictions.is_file() and truth.is_file() and truth.suffix != ".json":
        case_id = next(iter(files))
        return [replace(cases[0], case_id=case_id, prediction=predictions)], []
    taken = {case.case_id: _stem(case, files, {case.case_id for case in cases}) for case in cases}
    claims = Counter(stem for stem in taken.values() if stem)
    if not claims:
        raise InputError(
            predictions,
            f"label maps named like the {len(cases)} cases of {truth}, such as {cases[0].case_id}",
            f"only {', '.join(list(files)[:3])}{', …' * (len(files) > 3)}",
        )
    for stem, count in claims.items():
        if count > 1:
            rivals = [case_id for case_id, other in taken.items() if other == stem]
            raise InputError(files[stem], "one case to belong to", ", ".join(rivals))
    pairs = [_with_prediction(case, files.get(taken[case.case_id]), predictions) for case in cases]
    if predictions.is_file():  # one prediction was asked about, not all of the truth
        pairs = [pair for pair in pairs if pair.prediction]
    return pairs, sorted(files[stem].name for stem in files.keys() - claims.keys())


def _stem(case: Pair, files: Mapping[str, Path], case_ids: set[str]) -> str:
    """The name a case's prediction goes by: its id, else that of its label or image file."""
    if case.case_id in files:
        return case.case_id
    sources = [source for source in (case.label, case.image) if isinstance(source, Path)]
    stems = [stem_of(source) for source in sources]
    return next((stem for stem in stems if stem in files and stem not in case_ids), "")


def _with_prediction(case: Pair, path: Path | None, predictions: Path) -> Pair:
    reason = "" if path else f"missing prediction: {predictions} has no {case.case_id}"
    return replace(case, prediction=path, reason=reason)


def _truth(truth: Path) -> list[Pair]:
    if truth.suffix == ".json":
        pairs = [
            Pair(case.case_id, case.label, truth_labels=case.labels, image=case.image)
            for case in read_cases(truth)
            if case.label is not None
        ]
        if not pairs:
            raise InputError(truth, "cases with label maps", "none")
        _refuse_doubles(truth, (pair.case_id for pair in pairs))
        return pairs
    folder = truth if truth.is_dir() else truth.parent
    labels = labels_beside(folder, folder.resolve().parent) or {}
    return [Pair(stem, path, truth_labels=labels) for stem, path in volumes_in(truth).items()]


def _given(files: Sequence[tuple[str | Path, str | Path]]) -> list[Pair]:
    pairs = []
    for prediction, label in (map(Path, pair) for pair in files):
        named = labels_beside(label.parent, label.resolve().parent.parent) or {}
        pairs.append(Pair(stem_of(prediction), label, prediction, truth_labels=named))
    if not pairs:
        raise InputError("predictions", "pairs of prediction and truth", "an empty list")
    _refuse_doubles("predictions", (pair.case_id for pair in pairs))
    return pairs


def _refuse_doubles(where: str | Path, case_ids: Iterable[str]) -> None:
    doubles = [case_id for case_id, count in Counter(case_ids).items() if count > 1]
    if doubles:
        raise InputError(where, "one case per id", f"several of {', '.join(doubles[:5])}")


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """What ``predict`` noted of each case, if it wrote this folder."""
    path = folder / MANIFEST
    content = read_json(path) if path.is_file() else {}
    entries = content.get("cases", []) if isinstance(content, dict) else []
    return {
        str(entry["case_id"]): entry
        for entry in entries
        if isinstance(entry, dict) and "case_id" in entry
    }


def _unless_failed(pair: Pair, manifest: Mapping[str, Mapping[str, Any]]) -> Pair:
    """A label map that lies there although prediction failed is from an earlier run."""
    entry = manifest.get(stem_of(pair.prediction) if pair.prediction else pair.case_id, {})
    if entry.get("status") != "failed":
        return pair
    reason = f"missing prediction: it failed with {entry.get('error')}"
    return replace(pair, prediction=None, reason=reason)


def _with_image(pair: Pair, images: Mapping[str, Path]) -> Pair:
    names = [pair.case_id, f"{pair.case_id}_0000"]  # the second as nnU-Net names images
    return replace(pair, image=next((images[name] for name in names if name in images), None))


def _with_noted_image(pair: Pair, manifest: Mapping[str, Mapping[str, Any]]) -> Pair:
    if pair.image is not None or pair.prediction is None:
        return pair
    noted = manifest.get(stem_of(pair.prediction), {}).get("image")
    if isinstance(noted, list):
        return replace(pair, image=tuple(Path(path) for path in noted))
    return replace(pair, image=Path(noted)) if noted else pair


def _with_labels(
    pairs: Sequence[Pair],
    beside: Path,
    labels: Mapping[str, LabelValue] | None,
    truth_labels: Mapping[str, LabelValue] | None,
) -> list[Pair]:
    given = None if truth_labels is None else checked_labels(truth_labels)
    truths = [given or dict(pair.truth_labels) for pair in pairs]
    own = labels_beside(beside) if labels is None else checked_labels(labels)
    if own is None and truths[0] and all(truth == truths[0] for truth in truths):
        own = truths[0]
    if own is None:
        raise InputError(
            beside, f"the organs' names in {MANIFEST} beside the label maps", "none",
            hint="name them, as in liver=1,spleen=2",
        )  # fmt: skip
    return [
        replace(pair, labels=own, truth_labels=truth or own)
        for pair, truth in zip(pairs, truths, strict=True)
    ]


def _with_regions(pair: Pair, regions: Mapping[str, Sequence[str]]) -> Pair:
    labels = with_regions(pair.labels, regions)
    for region in regions.keys() - labels.keys():
        parts, known = ", ".join(regions[region]), ", ".join(pair.labels)
        raise UsageError(f"region {region!r}: expected parts among {known}, got {parts}")
    return replace(pair, labels=labels, truth_labels=with_regions(pair.truth_labels, regions))


def _is_volume(path: Path) -> bool:
    return path.is_file() and bool(suffix_of(path)) and not path.name.startswith(".")
