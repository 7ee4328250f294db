"""What the data-set check can say only of all cases together."""

from collections.abc import Iterator, Mapping, Sequence

from medseg.case import Case
from medseg.datasets.check_case import Examined
from medseg.datasets.pairing import lone_image
from medseg.datasets.problems import Problem, first_path

SHOWN = 5
Splits = Mapping[str, Sequence[Case]]


def set_problems(
    where: str, splits: Splits, rest: Sequence[Case], examined: Sequence[Examined]
) -> Iterator[Problem]:
    """What is wrong between cases and splits.

    Args:
        where: The data set's folder, or another word for it.
        splits: Split → its cases.
        rest: Cases in no split.
        examined: What was found in each case.
    """
    every = [case for cases in splits.values() for case in cases] + list(rest)
    if not every:
        yield Problem("no-cases", where, "cases", "none")
        return
    for name, cases in splits.items():
        if not cases:
            yield Problem("empty-split", where, f"cases in split {name!r}", "none", "", name)
    if rest:
        got = f"{len(rest)} in none ({_named(sorted(case.case_id for case in rest))})"
        yield Problem("case-without-split", where, "every case in a split", got)
    yield from _duplicate_cases(splits, rest)
    yield from _patients(splits)
    yield from _images(splits, rest, examined)
    yield from _lone(every)
    yield from _labels(where, every, examined)


def _duplicate_cases(splits: Splits, rest: Sequence[Case]) -> Iterator[Problem]:
    """Two cases of one name; one case in two splits is a matter of its patient."""
    first: dict[str, Case] = {}
    for cases in [*splits.values(), rest]:
        here: set[str] = set()
        for case in cases:
            before = first.setdefault(case.case_id, case)
            other = (before.image, before.label) != (case.image, case.label)
            if other or case.case_id in here:
                wanted = f"one case named {case.case_id!r}"
                got = f"another, {first_path(before.image)}" if other else "the same one twice"
                path = str(first_path(case.image))
                yield Problem("duplicate-case", path, wanted, got, case.case_id)
            here.add(case.case_id)


def _patients(splits: Splits) -> Iterator[Problem]:
    seen: dict[str, dict[str, list[Case]]] = {}
    for name, cases in splits.items():
        for case in cases:
            seen.setdefault(case.patient, {}).setdefault(name, []).append(case)
    for patient, by_split in seen.items():
        if len(by_split) > 1:
            last = list(by_split)[-1]
            case = by_split[last][0]
            got = ", ".join(f"{cases[0].case_id} in {name}" for name, cases in by_split.items())
            path, wanted = str(first_path(case.image)), f"patient {patient!r} in one split"
            yield Problem("patient-in-two-splits", path, wanted, got, case.case_id, last)


def _images(
    splits: Splits, rest: Sequence[Case], examined: Sequence[Examined]
) -> Iterator[Problem]:
    """Images with the same voxels under two names."""
    splits_of: dict[str, set[str]] = {case.case_id: set() for case in rest}
    for name, cases in splits.items():
        for case in cases:
            splits_of.setdefault(case.case_id, set()).add(name)
    first: dict[str, Examined] = {}
    for found in examined:
        before = first.setdefault(found.digest, found) if found.digest else found
        if before is found:
            continue
        got = f"the voxels of {before.case_id} ({before.image})"
        here, there = splits_of.get(found.case_id, set()), splits_of.get(before.case_id, set())
        apart = here and there and here != there
        kind = "image-in-two-splits" if apart else "duplicate-image"
        yield Problem(kind, found.image, "an image of its own", got, found.case_id)


def _lone(every: Sequence[Case]) -> Iterator[Problem]:
    """Cases without a label where others have one."""
    if any(case.label is not None for case in every):
        for case in every:
            if case.label is None:
                yield lone_image(first_path(case.image), case.case_id)


def _labels(where: str, every: Sequence[Case], examined: Sequence[Examined]) -> Iterator[Problem]:
    """Values without a name, and names whose value never occurs."""
    labelled = [case for case in every if case.label is not None]
    values = {value for found in examined for value in found.voxels}
    if any(not case.labels for case in labelled):
        found_values = _named([str(value) for value in sorted(values - {0})])
        yield Problem("labels-unnamed", where, "a name for each label value", found_values)
    if not values:
        return
    organs = {organ: value for case in labelled for organ, value in case.labels.items()}
    never = [organ for organ, value in organs.items() if value not in values]
    if never:
        got = f"none of {_named(never)} in {len(labelled)} cases"
        yield Problem("organ-never", where, "every organ of the label map somewhere", got)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
