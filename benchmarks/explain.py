"""Time and memory of explaining every organ of a model by every method.

    python -m benchmarks.explain demo/run -i demo/data/images/phantom_test_0000.nii.gz
    python -m benchmarks.explain demo/run -i ct.nii.gz --label labels.nii.gz
    python -m benchmarks.explain runs/windowed_3d -i mri.nii.gz --whole

Each organ is a command of its own, with ``--views`` and the page, as a user would give it: on the
slice in which the model finds most of it, or with ``--label`` where the label map has the model's
own value of it. Seconds are those of the processor, which other programs change little; peak is the
most resident memory of a process. A map counts if it is finite and not the same everywhere.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medseg.inference.predict import model_folder_of
from medseg.model import read_model
from medseg.volumes import Volume, read_volume, stem_of, write_label_map


def explain(
    args: argparse.Namespace, organ: str, region: Path | None, output: Path
) -> dict[str, Any]:
    """Explain one organ by all methods in a process of its own; what it took."""
    command = [
        sys.executable, "-m", "medseg", "explain", str(args.model), "-i", str(args.input),
        "-o", str(output), "--organ", organ, "--method", "all", "--views", "--no-progress",
        *(["--region", str(region)] if region else []),
        *(["--slice", "all"] if args.whole else []),
    ]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{organ}: exit code {child.returncode}")
    name = f"{stem_of(args.input)}_{organ.replace(' ', '_')}.json"
    record = json.loads((output / name).read_text())
    return {
        "organ": organ,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss / 1e6,  # from KiB
        "maps": sum(is_map(output / one["map"]) for one in record["methods"].values()),
        "slices": len(record["slices"]),
        "methods": {name: one["seconds"] for name, one in record["methods"].items()},
    }


def is_map(path: Path) -> bool:
    """Whether a map says anything."""
    values = np.asarray(nib.load(path).dataobj)
    return bool(np.isfinite(values).all() and values.std() > 0)


def region_of(label: Path, value: int, folder: Path) -> Path | None:
    """A file with one organ of a label map; none if it is not there."""
    volume = read_volume(label, "label")
    mask = (volume.array == value).astype(np.uint8)
    if not mask.any():
        return None
    path = folder / f"region_{value}.nii.gz"
    write_label_map(path, Volume(mask, volume.affine))
    return path


def main() -> None:
    """Print what each organ took, and each method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("--label", type=Path, help="explain where this label map has the organ")
    parser.add_argument("--whole", action="store_true", help="all slices or windows of an organ")
    parser.add_argument("--keep", type=Path, help="folder for what is written")
    args = parser.parse_args()
    labels = read_model(model_folder_of(args.model)).spec.labels
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for organ, value in labels.items():
            region = region_of(args.label, value, Path(scratch)) if args.label else None
            if args.label and region is None:
                print(f"{organ}: not in {args.label.name}")
                continue
            one = explain(args, organ, region, args.keep or Path(scratch) / "maps")
            found.append(one)
            print(
                f"{organ}: {one['maps']} of {len(one['methods'])} maps, {one['slices']} slices, "
                f"{one['cpu']:.0f} s of the processor, {one['peak']:.2f} GB",
                flush=True,
            )
    if not found:
        return
    print(
        f"all {len(found)}: {sum(one['maps'] for one in found)} maps, median "
        f"{np.median([one['cpu'] for one in found]):.0f} s of the processor for an organ, "
        f"most {max(one['peak'] for one in found):.2f} GB"
    )
    for name in found[0]["methods"]:
        print(f"  {name}: median {np.median([one['methods'][name] for one in found]):.2f} s")


if __name__ == "__main__":
    main()
