"""A network's forward pass as it is, by the fast exact path, and in bfloat16.

    python -m benchmarks.forward
    python -m benchmarks.forward --model runs/phantom_transunet --data runs/phantom_transunet/cases/test.json

The ways take turns in one process; figures are medians of the turns. Without ``--model`` the
network is TransUNet R50-ViT-B_16 at 224 with random weights, without ``--data`` the slices are
noise: speed is then what it would be, agreement of the labels means little.
"""  # noqa: E501

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.fast import prepare
from medseg.inference.inputs import cases_of
from medseg.inference.path import choose_path
from medseg.inference.predict import model_folder_of
from medseg.inference.slices import labels_of, sample_inputs
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing, prepare_image
from medseg.model import ModelSpec, read_model
from medseg.networks.transunet import TransUNet
from medseg.volumes import read_volume

PLAIN = "as it is, float32"
Ways = dict[str, nn.Module]


def spec_and_network(folder: Path | None) -> tuple[ModelSpec, nn.Module]:
    """A model folder's, or TransUNet's with random weights."""
    if folder is not None:
        model = read_model(model_folder_of(folder))
        return model.spec, model.network
    torch.manual_seed(0)
    spec = ModelSpec({}, {}, Preprocessing(window=(-125.0, 275.0)), SliceGeometry((224, 224)))
    return spec, TransUNet().eval()


def slices_of(spec: ModelSpec, data: Path | None, count: int) -> torch.Tensor:
    """What the network is fed: slices spread over the first cases, or noise."""
    if data is None:
        shape = (count, *spec.geometry.input_shape)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))
    if not isinstance(spec.geometry, SliceGeometry):
        raise UsageError("expected a model of slices, got one of patches")
    per_case, found = 8, []
    for case in cases_of(data)[: -(-count // per_case)]:
        array = prepare_image(read_volume(case.image), spec.preprocessing).array
        images = np.ascontiguousarray(array.transpose(2, 0, 1))
        found.append(sample_inputs(images, spec.geometry, "cpu", count=per_case))
    return torch.cat(found)[:count]


def seconds(way: nn.Module, batch: torch.Tensor) -> float:
    """How long one forward pass takes."""
    start = time.perf_counter()
    way(batch)
    return time.perf_counter() - start


def print_speed(ways: Ways, slices: torch.Tensor, size: int, turns: int) -> None:
    """Median milliseconds per slice of every way, and how many times faster it is."""
    batch = slices[:size]
    for way in ways.values():
        way(batch)
    runs = [{name: seconds(way, batch) for name, way in ways.items()} for _ in range(turns)]
    medians = {name: statistics.median(run[name] for run in runs) for name in ways}
    for name, median in medians.items():
        ratio = medians[PLAIN] / median
        print(f"{size:5d}  {name:26s} {1000 * median / len(batch):8.0f} {ratio:8.2f}", flush=True)


def print_agreement(ways: Ways, slices: torch.Tensor) -> None:
    """Largest difference of the logits and share of equal labels, against the plain module."""
    batches = torch.split(slices, 4)
    expected = torch.cat([ways[PLAIN](batch) for batch in batches])
    labels = labels_of(expected)
    print(f"{'':7s}{'way':26s} {'logits off':>11s} {'same labels':>12s} {'same, organs':>13s}")
    for name, way in ways.items():
        logits = torch.cat([way(batch) for batch in batches])
        same = (labels_of(logits) == labels).double()
        organs = (labels > 0) | (labels_of(logits) > 0)
        off = float((logits - expected).abs().max())
        inside = f"{same[organs].mean():.4%}" if organs.any() else "none"
        print(f"{'':7s}{name:26s} {off:11.1e} {same.mean():12.4%} {inside:>13s}")
    print(f"largest logit {expected.abs().max():.1f}; {len(slices)} slices")


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Forward pass: as it is, exact and fast, bf16.")
    parser.add_argument("--model", type=Path, help="model or run folder; else random weights")
    parser.add_argument("--data", type=Path, help="volume, folder or case list; else noise")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--slices", type=int, default=32, help="how many labels are compared on")
    parser.add_argument("--turns", type=int, default=9)
    args = parser.parse_args(argv)
    spec, network = spec_and_network(args.model)
    slices = slices_of(spec, args.data, max(args.slices, *args.batches))
    ways: Ways = {
        PLAIN: network,
        "fast, float32": prepare(network),
        "autocast, bfloat16": prepare(network, dtype=torch.bfloat16, autocast=True),
        "fast, bfloat16": prepare(network, dtype=torch.bfloat16),
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with torch.inference_mode():
        print_agreement(ways, slices[: args.slices])
        print(f"{'batch':>5s}  {'way':26s} {'ms/slice':>8s} {'ratio':>8s}")
        for size in args.batches:
            print_speed(ways, slices, size, args.turns)
    chosen = choose_path(network, slices[:4])
    print(f"medseg predict would run it in {chosen.precision}: {chosen.why}")


if __name__ == "__main__":
    main()
