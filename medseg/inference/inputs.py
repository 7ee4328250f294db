"""What there is to predict: a file, a folder of volumes or a case list."""

from pathlib import Path

from medseg.case import Case, read_cases
from medseg.errors import InputError
from medseg.volumes import stem_of, suffix_of


def cases_of(source: str | Path) -> list[Case]:
    """The cases of a file, a folder of volumes or a case list.

    Raises:
        InputError: If there is none, or if two would be written under one name.
    """
    source = Path(source)
    if source.suffix == ".json":
        cases = read_cases(source)
    elif source.is_dir():
        files = [path for path in sorted(source.iterdir()) if _is_volume(path)]
        cases = [Case(case_id=stem_of(path), image=path) for path in files]
    else:
        cases = [Case(case_id=stem_of(source), image=source)]
        if not source.is_file():
            raise InputError(source, "a volume, a folder of them or a case list", "no such file")
    if not cases:
        raise InputError(source, "at least one volume (.nii.gz, .nii, .nrrd, .mha)", "none")
    names = [case.case_id for case in cases]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise InputError(source, "one volume per case id", f"several for {', '.join(doubles[:5])}")
    climbing = [name for name in names if Path(name).name != name]
    if climbing:
        raise InputError(source, "case ids that are plain file names", repr(climbing[0]))
    return cases


def _is_volume(path: Path) -> bool:
    return path.is_file() and bool(suffix_of(path)) and not path.name.startswith(".")
