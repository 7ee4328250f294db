"""Run exports of trained models in fresh virtual environments, as those who are given one do.

    python -m benchmarks.clean_environments transunet=runs/demo unet=runs/unet -o clean/

Makes three environments from the package index: ``medseg`` with this checkout, ``monai`` with what
the metadata of a bundle name and nothing of ours, and ``runner`` without torch and MONAI. Every
model is exported there; its bundle must pass MONAI's own checks, give the model's label maps,
evaluate them, train two iterations in one process and in two, and its ONNX file must give the
same label maps. A bundle that does not name medseg runs in ``monai``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "tests" / "reference" / "bundle_metadata_schema.json"
TORCH = "torch==2.13.0"
PINNED = ["-c", str(ROOT / "constraints.txt")]
TOOLS = ["fire", "jsonschema"]  # MONAI's command line and its check of metadata
EVALUATE = "['configs/inference.json','configs/evaluate.json']"
TWO = "['configs/train.json','configs/multi_gpu_train.json']"
CHECKS = """
import hashlib, sys
from pathlib import Path
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out
schema, data = sys.argv[1:]
verify_metadata(meta_file="configs/metadata.json", filepath=schema, hash_type="sha256",
                hash_val=hashlib.sha256(Path(schema).read_bytes()).hexdigest())
verify_net_in_out(net_id="network_def", meta_file="configs/metadata.json",
                  config_file="configs/inference.json", bundle_root=".")
for config, kind in (("inference", "infer"), ("train", "train")):
    workflow = ConfigWorkflow(config_file=f"configs/{config}.json", workflow_type=kind,
                              logging_file="configs/logging.conf", dataset_dir=data)
    workflow.initialize()
    missing = workflow.check_properties()
    if missing:
        sys.exit(f"{config}.json lacks {missing}")
"""


@dataclass
class Trial:
    """The checks of one model.

    Attributes:
        name: Of the model.
        model: Its folder.
        work: Folder of its exports.
        bins: Environment → its folder of programs.
        rows: Check → what came of it.
    """

    name: str
    model: Path
    work: Path
    bins: dict[str, Path]
    rows: dict[str, str] = field(default_factory=dict)

    def note(self, check: str, do: Callable[[], str]) -> None:
        """Do a check and write down what came of it, with its seconds."""
        start = time.perf_counter()
        try:
            said = do()
        except (RuntimeError, OSError, ValueError, LookupError) as error:
            said = f"FAILED: {error}"
        self.rows[check] = f"{said} ({time.perf_counter() - start:.0f} s)".strip()
        print(f"{self.name}: {check}: {self.rows[check]}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Make the environments, try every model, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL", help="Model or run folders.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Folder for all of it.")
    arguments = parser.parse_args(argv)
    output = arguments.output.absolute()
    bins = environments(output / "environments")
    trials = []
    for given in arguments.models:
        name, _, model = given.partition("=")
        trial = Trial(name, Path(model).absolute(), output / name, bins)
        shutil.rmtree(trial.work, ignore_errors=True)
        trial.work.mkdir(parents=True)
        try_model(trial)
        trials.append(trial)
    print(as_table(trials))
    return int(any("FAILED" in said for trial in trials for said in trial.rows.values()))


def environments(folder: Path) -> dict[str, Path]:
    """Three environments; those that are there are kept."""
    wanted = {
        "runner": [["onnxruntime", "numpy", "scipy", "nibabel"]],
        "medseg": [[TORCH], [*PINNED, f"{ROOT}[export]", *TOOLS]],
        "monai": [[TORCH], [*PINNED, "monai", "nibabel", "pytorch-ignite", *TOOLS]],
    }
    for name, installs in wanted.items():
        if (folder / name / "ready").is_file():
            continue
        run([sys.executable, "-m", "venv", "--clear", str(folder / name)], ROOT)
        for packages in installs:
            run([str(folder / name / "bin" / "pip"), "install", "-q", *packages], ROOT)
        (folder / name / "ready").touch()
    bins = {name: folder / name / "bin" for name in wanted}
    absent = {"runner": ("torch", "monai", "medseg"), "monai": ("medseg",)}
    for name, modules in absent.items():
        there = f"import importlib.util as u; print([m for m in {modules} if u.find_spec(m)])"
        if (found := run([str(bins[name] / "python"), "-c", there], bins[name]).strip()) != "[]":
            raise RuntimeError(f"{name}: expected none of {modules}, got {found}")
    return bins


def try_model(trial: Trial) -> None:
    """All checks of one model, in the order of the table."""
    trial.note("bundle", lambda: exported(trial, "bundle"))
    trial.note("onnx", lambda: exported(trial, "onnx"))
    trial.note("onnx in the runner", lambda: run_onnx(trial))
    bundle = trial.work / "bundle"
    needed = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    where = "medseg" if "medseg" in needed["required_packages_version"] else "monai"
    trial.rows["environment of the bundle"] = where
    python = str(trial.bins[where] / "python")
    data = paired(bundle, trial.work / "data", count=10)
    trial.note("MONAI's checks", lambda: monais_checks(python, bundle, data))
    trial.note("inference", lambda: inference(python, bundle, data))
    trial.note("evaluate", lambda: evaluate(python, bundle, data))
    three = paired(bundle, trial.work / "three", count=3)
    trial.note("two iterations", lambda: trained([python], bundle, three, "configs/train.json"))
    four = paired(bundle, trial.work / "four", count=4)
    two = [str(trial.bins[where] / "torchrun"), "--nproc_per_node=2"]
    trial.note("two processes", lambda: trained(two, bundle, four, TWO))


def exported(trial: Trial, kind: str) -> str:
    """Export with an installed medseg; what its certificate says."""
    folder = trial.work / kind
    command = [str(trial.bins["medseg"] / "medseg"), "export", str(trial.model), "-o", str(folder)]
    run([*command, "--format", kind, "--no-progress"], trial.work)
    proof = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    return (
        f"{proof['equal_voxels']:.4%} of voxels, {proof['organ_voxels']:,} of organs, "
        f"logits {proof['largest_logit_difference']:.0e}"
    )


def run_onnx(trial: Trial) -> str:
    """The script of the ONNX export where there is no torch."""
    folder, found = trial.work / "onnx", trial.work / "found"
    images = sorted(map(str, (folder / "proof" / "images").iterdir()))
    run([str(trial.bins["runner"] / "python"), "run.py", *images, "-o", str(found)], folder)
    return equal(folder, found, "grid_{}.nii.gz")


def monais_checks(python: str, bundle: Path, data: Path) -> str:
    """``verify_metadata`` (offline), ``verify_net_in_out`` and ``check_properties``."""
    run([python, "-c", CHECKS, str(SCHEMA), str(data)], bundle)
    return "passed"


def inference(python: str, bundle: Path, data: Path) -> str:
    """``inference.json`` gives the label maps that the model gave."""
    bundle_run([python], bundle, data, "configs/inference.json")
    return equal(bundle, bundle / "eval", "{}_seg.nii.gz")


def evaluate(python: str, bundle: Path, data: Path) -> str:
    """``evaluate.json`` on the model's own label maps as truth, which must score 1 nearly."""
    bundle_run([python], bundle, data, EVALUATE)
    score = float((bundle / "eval" / "metrics.csv").read_text(encoding="utf-8").split(",")[1])
    if not score > 0.99:
        raise ValueError(f"expected a mean DSC near 1, got {score}")
    return f"mean DSC {score:.4f}"


def trained(start: list[str], bundle: Path, data: Path, config: str) -> str:
    """Two iterations, ended by a validation."""
    epochs = "1" if len(start) == 1 else "2"  # two processes share what one has
    said = bundle_run(start, bundle, data, config, "--epochs", epochs)
    if (steps := said.count("train_loss:")) < int(epochs):
        raise ValueError(f"expected losses, got {steps}")
    if "val_mean_dice" not in said:
        raise ValueError("expected a validation, got none")
    return "passed"


def bundle_run(start: list[str], bundle: Path, data: Path, config: str, *more: str) -> str:
    """``python -m monai.bundle run`` in the bundle's folder."""
    command = [*start, "-m", "monai.bundle", "run", "--config_file", config]
    return run([*command, "--dataset_dir", str(data), *more], bundle)


def paired(bundle: Path, folder: Path, *, count: int) -> Path:
    """The first volumes of the proof with the model's label maps as truth."""
    for kind, names in (("images", "grid_*.nii.gz"), ("labels", "*.nii.gz")):
        (folder / kind).mkdir(parents=True)
        for path in sorted((bundle / "proof" / kind).glob(names))[:count]:
            shutil.copyfile(path, folder / kind / path.name.rpartition("grid_")[2])
    return folder


def equal(export: Path, found: Path, named: str) -> str:
    """Share of voxels of the label maps ``named`` as in those of the proof."""
    same, total = 0, 0
    for path in sorted((export / "proof" / "labels").glob("*.nii.gz")):
        grid = path.name.removesuffix(".nii.gz").rpartition("grid_")[2]
        one, other = as_array(path), as_array(found / named.format(grid))
        same, total = same + int(np.count_nonzero(one == other)), total + one.size
    if not same >= 0.9999 * total:
        raise ValueError(f"expected 99.99 % of voxels equal, got {same / total:.4%}")
    return f"{same / total:.4%} of voxels"


def as_array(path: Path) -> np.ndarray:
    """The voxels of a NIfTI file."""
    image: Any = nib.load(path)
    return np.asanyarray(image.dataobj)


def run(command: list[str], folder: Path) -> str:
    """Run a program with nothing of this process's Python around it; what it says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=kept
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        raise RuntimeError(f"{Path(command[0]).name} {command[1][:40]}: {' / '.join(said)[-600:]}")
    return done.stdout + done.stderr


def as_table(trials: list[Trial]) -> str:
    """Markdown: one column per model."""
    checks = list(dict.fromkeys(check for trial in trials for check in trial.rows))
    lines = [
        f"| | {' | '.join(trial.name for trial in trials)} |",
        "|---" * (len(trials) + 1) + "|",
    ]
    for check in checks:
        said = " | ".join(trial.rows.get(check, "–") for trial in trials)
        lines.append(f"| {check} | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
