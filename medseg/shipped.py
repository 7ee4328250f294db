"""The configs and pipeline scripts that travel with the package."""

from pathlib import Path

from medseg.errors import UsageError

KINDS = {"configs": "*.yaml", "pipelines": "*.py"}


def shipped(kind: str) -> dict[str, Path]:
    """Name → file of everything shipped under ``kind``, ``"configs"`` or ``"pipelines"``.

    An installed package carries them inside itself; a checkout has them beside it.
    """
    package = Path(__file__).parent
    folders = [package / kind, package.parent / kind]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    files = sorted(folder.glob(KINDS[kind]))
    return {path.stem: path for path in files if not path.name.startswith("_")}


def copy_shipped(name: str, target: Path, *, overwrite: bool = False) -> Path:
    """Copy a shipped config or script to ``target``, a file or a folder, and return the copy.

    Raises:
        UsageError: If nothing of that name is shipped or the copy would overwrite a file.
    """
    everything = {path.name: path for kind in KINDS for path in shipped(kind).values()}
    matches = [path for full, path in everything.items() if name in (full, path.stem)]
    if len(matches) != 1:
        problem = "several files" if matches else "nothing"
        raise UsageError(f"{problem} named {name!r}: choose from {', '.join(sorted(everything))}")
    copy = target / matches[0].name if target.is_dir() or not target.suffix else target
    if copy.exists() and not overwrite:
        raise UsageError(f"{copy}: there already; --overwrite replaces it")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(matches[0].read_bytes())
    return copy
