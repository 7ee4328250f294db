"""Damage small files of every kind at random and read them: only an InputError may come of it.

    python -m benchmarks.fuzz_readers --minutes 10

The input at hand is kept in the working folder, so that it is there after a crash of the process.
"""

import argparse
import faulthandler
import random
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.volumes import Volume, read_header, read_volume, write_label_map

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
EDGES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f")
LONGEST_CUT = 64


def damaged(content: bytes, random_: random.Random) -> bytes:
    """Some bytes overwritten, left out, doubled or cut off."""
    changed = bytearray(content)
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        place = random_.randrange(len(changed))
        length = random_.randrange(1, LONGEST_CUT)
        kind = random_.randrange(6)
        if kind == 0:
            changed[place] ^= 1 << random_.randrange(8)
        elif kind == 1:
            edge = random_.choice(EDGES)
            changed[place : place + len(edge)] = edge
        elif kind == 2:
            del changed[place : place + length]
        elif kind == 3:
            changed[place:place] = changed[place : place + length]
        elif kind == 4:
            changed[place] = random_.randrange(256)
        else:
            del changed[place:]
    return bytes(changed)


def examples(slices: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    """File name → content of a sound file of each kind.

    Args:
        slices: Sound DICOM slices; the first is damaged as a file, all of them in a zip.
        folder: For what has to be written first.
    """
    label = Volume(np.arange(60, dtype=np.uint8).reshape(5, 4, 3), np.diag([0.8, 0.7, 2.5, 1.0]))
    for suffix in SUFFIXES:
        write_label_map(folder / f"volume{suffix}", label)
    with zipfile.ZipFile(folder / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in slices.items():
            archive.writestr(name, content)
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return found | {"slice.dcm": next(iter(slices.values()))}


def outcome(path: Path) -> str:
    """Read a file both ways; ``"read"`` or ``"refused"``. Any other error passes through."""
    result = "read"
    for read in (read_header, read_volume):
        try:
            read(path)
        except InputError as error:
            if "\n" in str(error):
                raise ValueError(f"a message of several lines: {error}") from error
            result = "refused"
    return result


def fuzz(files: Mapping[str, bytes], folder: Path, seconds: float, seed: int) -> Counter[str]:
    """Damage and read files in turn until the time is up, and count what came of it."""
    random_, counts, end = random.Random(seed), Counter[str](), time.monotonic() + seconds
    slowest = 0.0
    while time.monotonic() < end:
        for name, content in files.items():
            path = folder / name
            path.write_bytes(damaged(content, random_))
            start = time.monotonic()
            try:
                counts[f"{name} {outcome(path)}"] += 1
            except Exception:  # noqa: BLE001 - this is what is sought
                counts[f"{name} CRASHED"] += 1
                kept = folder / f"crash-{counts.total()}-{name}"
                path.rename(kept)
                print(f"{kept}: {traceback.format_exc(limit=-2)}")
            slowest = max(slowest, time.monotonic() - start)
    counts["slowest in ms"] = round(1000 * slowest)
    return counts


def main() -> None:
    """Fuzz for some minutes and print the counts."""
    from tests.volumes.dicom_writer import write_series

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="a suffix, to damage one kind of file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    scan = Volume(np.zeros((6, 5, 4), np.int16), np.diag([-0.8, -0.7, 2.5, 1.0]))
    paths = write_series(folder / "series", scan)
    slices = {path.name: path.read_bytes() for path in paths}
    (folder / "sound").mkdir()
    files = examples(slices, folder / "sound")
    files = {name: files[name] for name in files if name.endswith(options.only)}
    print(f"working in {folder}, seed {options.seed}", flush=True)
    for what, count in sorted(fuzz(files, folder, 60 * options.minutes, options.seed).items()):
        print(f"{count:8d}  {what}")


if __name__ == "__main__":
    main()
