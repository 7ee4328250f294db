"""Memory and speed of predicting whole volumes with a 3D network, beside MONAI.

    python -m benchmarks.predict_3d
    python -m benchmarks.predict_3d --depths 800 --classes 117 --ways medseg
    python -m benchmarks.predict_3d --depths 400 --network transunet --overlap 0 --ways medseg

Volumes of 512 × 512 × depth go through windows of 96 × 96 × 96 voxels, each way in a process of its
own: medseg's, whose sums of scores move along the axis, and MONAI's ``sliding_window_inference``,
which gives the scores of the whole volume. Peak is the most resident memory of the process,
interpreter and libraries included; seconds are those of the processor from the file to the label
map in memory, which other programs on the machine change little.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import nn

from benchmarks.predict import print_growth, share_of_equal
from benchmarks.predict_ways import WINDOW, memory, write_input
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.loading.geometry import PatchGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Volume, read_volume, write_label_map

WAYS = ("medseg", "monai")


def model_of(args: argparse.Namespace, classes: int) -> LoadedModel:
    """A network with random weights: what is measured is all around it."""
    torch.manual_seed(0)
    if args.network == "transunet":
        from medseg.networks.transunet_3d import TransUNet3D

        network: nn.Module = TransUNet3D(args.patch, num_classes=classes, widths=(16, 32, 64, 128))
    elif args.network == "pointwise":  # as good as nothing
        network = nn.Conv3d(1, classes, 1)
    else:
        network = nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(),
            nn.Conv3d(8, classes, 1),
        )  # fmt: skip
    spec = ModelSpec(
        network={"_target_": "torch.nn.Sequential"},
        labels={f"organ {index}": index for index in range(1, classes)},
        preprocessing=Preprocessing(window=WINDOW),
        geometry=PatchGeometry((args.patch,) * 3, args.overlap),
    )
    return LoadedModel(spec, network.eval(), {})


def ours(path: Path, model: LoadedModel, most_gb: float | None) -> Callable[[], Volume]:
    """Windows layer by layer, labels as soon as planes are done."""
    settings = PredictSettings(device="cpu", precision="float32", max_memory_gb=most_gb)
    predictor = Predictor(model, settings)
    return lambda: predictor(read_volume(path))


def monai(path: Path, model: LoadedModel) -> Callable[[], Volume]:
    """MONAI's sliding window, which returns the logits of the whole volume."""
    from monai.inferers import sliding_window_inference
    from monai.transforms import ScaleIntensityRange

    geometry = model.spec.geometry
    overlap = geometry.overlap if isinstance(geometry, PatchGeometry) else 0.0

    def work() -> Volume:
        image = nib.load(path)
        array = np.asarray(image.dataobj, dtype=np.float32)
        array = ScaleIntensityRange(*WINDOW, 0.0, 1.0, clip=True)(array)
        with torch.inference_mode():
            logits = sliding_window_inference(
                torch.as_tensor(array)[None, None], geometry.input_shape[1:], 1, model.network,
                overlap=overlap, mode="gaussian",
            )  # fmt: skip
            labels = logits.argmax(dim=1)[0].to(torch.uint8).numpy()
        return Volume(labels, image.affine)

    return work


def run_one(args: argparse.Namespace) -> None:
    """What a process of its own does."""
    model = model_of(args, args.classes[0])
    ready = ours(args.input, model, args.max_memory) if args.way == "medseg" else None
    ready = ready or monai(args.input, model)
    start = time.process_time()
    found = ready()
    seconds = time.process_time() - start
    write_label_map(args.output, found)
    print(json.dumps({"seconds": seconds, "peak_gb": memory("VmHWM")}))


def in_process(way: str, source: Path, classes: int, given: list[str]) -> dict[str, float]:
    """Run one way in a process of its own, with the options that were given."""
    command = [
        sys.executable, "-m", "benchmarks.predict_3d", *given, "--way", way, "--input", str(source),
        "--output", str(source.with_name(f"{way}.nii")), "--classes", str(classes),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} ended with {done.returncode}\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(args: argparse.Namespace, given: list[str]) -> None:
    """Print peak and time of every way, depth and number of classes."""
    heads = f"{'way':8s} {'peak GB':>8s} {'x input':>8s} {'seconds':>8s} {'as medseg':>12s}"
    print(f"{'classes':>7s} {'depth':>5s} {heads}")
    for classes in args.classes:
        peaks: dict[str, list[float]] = {way: [] for way in args.ways}
        for depth in args.depths:
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / "image.nii"
                write_input(source, depth, None)
                for way in args.ways:
                    found = in_process(way, source, classes, given)
                    peaks[way].append(found["peak_gb"])
                    ours, this = (source.with_name(f"{name}.nii") for name in ("medseg", way))
                    ratio = found["peak_gb"] / (512 * 512 * depth * 4 / 1e9)
                    figures = f"{found['peak_gb']:8.2f} {ratio:8.1f} {found['seconds']:8.1f}"
                    same = share_of_equal(ours, this)
                    print(f"{classes:7d} {depth:5d} {way:8s} {figures} {same:>12s}", flush=True)
        if len(args.depths) > 1:
            print_growth(args.depths, peaks)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    given = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description="Predicting volumes with a 3D network.")
    parser.add_argument("--depths", type=int, nargs="+", default=[300, 600])
    parser.add_argument("--classes", type=int, nargs="+", default=[14])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--network", choices=["small", "pointwise", "transunet"], default="small")
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--max-memory", type=float, help="GB, for medseg")
    parser.add_argument("--way", choices=WAYS, help="of a process of its own")
    parser.add_argument("--input", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(given)
    if args.way:
        run_one(args)
    else:
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads", file=sys.stderr)
        measure(args, given)


if __name__ == "__main__":
    main()
