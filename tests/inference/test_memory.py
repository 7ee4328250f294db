import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import ResourceError, UsageError
from medseg.inference import memory
from medseg.inference.label_map import Run
from medseg.inference.memory import PeakBytes, forward_bytes, resident_bytes, run_within, with_less
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.inference.prepared import PreparedSlices
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Header, Volume
from tests.inference.whole_volume import Wavy, random_volume

ROOT = Path(__file__).parents[2]
SPEC = ModelSpec(
    {}, {"a": 1, "b": 2}, Preprocessing(window=(-150.0, 200.0)), SliceGeometry((24, 20))
)


class Hungry(nn.Module):
    """Runs out of memory from so many slices on."""

    def __init__(self, most, error):
        super().__init__()
        self.inner, self.most, self.error, self.seen = Wavy(1, 3), most, error, []

    def forward(self, batch):
        self.seen.append(len(batch))
        if len(batch) > self.most:
            raise self.error
        return self.inner(batch)


TORCH = RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("error", [MemoryError(), TORCH, torch.cuda.OutOfMemoryError()])
def test_a_volume_is_tried_with_half_the_slices_until_they_fit(error, monkeypatch):
    network, volume = Hungry(3, error).eval(), random_volume(1)
    settings = PredictSettings(device="cpu", precision="float32")
    expected = Predictor(LoadedModel(SPEC, network.inner, {}), settings)(volume)
    predictor = Predictor(LoadedModel(SPEC, network, {}), settings)
    monkeypatch.setattr(predictor, "_network_for", lambda _: network)
    found = predictor(volume)
    np.testing.assert_array_equal(found.array, expected.array)
    depth = len(PreparedSlices(volume, SPEC.preprocessing))
    assert network.seen[:3] == [min(16, depth), 8, 4]
    assert predictor.run.batch_size == 2
    network.seen.clear()
    predictor(volume)
    assert max(network.seen) == 2  # remembered for the next volume


def test_after_the_batch_the_slab_becomes_smaller_and_then_it_is_said():
    tried = []

    def fail(run):
        tried.append((run.batch_size, run.slab_bytes))
        raise MemoryError

    with pytest.raises(ResourceError, match="even with one slice or window at a time"):
        with_less(Run(batch_size=4, slab_bytes=2**26), fail)
    assert tried == [
        (4, 2**26), (2, 2**26), (1, 2**26), (1, 2**23), (1, 2**20),
    ]  # fmt: skip


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def fail(run):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        with_less(Run(), fail)


def test_the_peak_of_a_chain_of_layers_is_what_one_counts_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    plane = 16 * 10 * 4
    images = torch.zeros(3, 1, 16, 10)
    with torch.no_grad(), PeakBytes() as peak:
        network(images)
    assert peak.most == 3 * plane * 16  # both sides of the ReLU; the input was there before
    spec = replace(SPEC, geometry=SliceGeometry((16, 10)))
    per_slice, once = forward_bytes(network, spec, Run())
    assert (per_slice, once) == (plane * 16, 0)


def _plan(most_gb, network=None):
    volume = Volume(np.zeros((64, 64, 40), np.int16), np.eye(4))
    spec = replace(SPEC, geometry=SliceGeometry((128, 128)))
    network = network or nn.Conv2d(1, 64, 3, padding=1)
    return run_within(
        most_gb, Run(), spec, PreparedSlices(volume, spec.preprocessing),
        Header(volume.array.shape, volume.affine, volume.array.dtype),
        forward_bytes(network, spec, Run()),
    )  # fmt: skip


def test_less_memory_means_a_smaller_batch_and_too_little_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: 1e9)
    wide = nn.Conv2d(1, 256, 3, padding=1)  # 17 MB a slice
    batches = [_plan(most, wide).batch_size for most in (1.2, 1.25, 1.3, 1.5, 1000)]
    assert batches == sorted(batches)
    assert batches[0] < batches[2] < batches[3] == batches[4] == 16
    with pytest.raises(ResourceError, match=r"needs about 1\.. GB with one slice .*--max-memory"):
        _plan(1.05, wide)


def test_what_this_process_holds_is_known():
    held = resident_bytes()
    block = np.ones(50_000_000)
    assert resident_bytes() - held > 0.9 * block.nbytes


@pytest.mark.parametrize("most", [0, -1, float("nan")])
def test_a_limit_that_is_no_size_is_refused(most):
    model = LoadedModel(SPEC, Wavy(1, 3).eval(), {})
    with pytest.raises(UsageError, match="max_memory_gb"):
        Predictor(model, PredictSettings(max_memory_gb=most))


CHILD = """
import json, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Volume

shape, size, classes, spacing, most, shear = json.loads(sys.argv[1])
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, classes, 1))
labels = {f"organ{index}": index for index in range(1, classes)}
spec = ModelSpec(
    {}, labels, Preprocessing(window=(-100.0, 100.0), spacing=spacing), SliceGeometry((size, size))
)
settings = PredictSettings(device="cpu", precision="float32", max_memory_gb=most)
predictor = Predictor(LoadedModel(spec, network.eval(), {}), settings)
array = np.random.default_rng(0).integers(-200, 200, shape[::-1], dtype=np.int16).T  # as NIfTI
affine = np.diag([1.0, 1.0, 2.0, 1.0])
affine[1, 2] = shear
predictor(Volume(array, affine))
status = Path("/proc/self/status").read_text().splitlines()
peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024
print(json.dumps([peak, predictor.run.batch_size]))
"""
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc"
)


def _peak(shape, size=64, classes=5, spacing=None, most=None, shear=0.0):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([shape, size, classes, spacing, most, shear])],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    peak, batch = json.loads(done.stdout.splitlines()[-1])
    return peak, batch


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("spacing", [None, [1.5, 1.5, 3.0]])
def test_memory_grows_with_the_depth_as_input_and_label_map_do_and_no_faster(spacing):
    shallow, deep = (_peak([256, 256, depth], spacing=spacing)[0] for depth in (100, 900))
    per_voxel = (deep - shallow) / (256 * 256 * 800)
    assert per_voxel < 4  # bytes: two of the voxels, one of the labels, and less than one besides


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(("classes", "size", "spacing"), [(8, 512, None), (60, 256, [1.5, 1.5, 3])])
def test_the_limit_is_kept_and_not_for_nothing(classes, size, spacing):
    free, batch = _peak([size, size, 40], size, classes, spacing)
    most = 0.85 * free / 1e9
    peak, smaller = _peak([size, size, 40], size, classes, spacing, most)
    assert peak <= most * 1e9
    assert smaller < batch == 16
    assert peak > 0.6 * most * 1e9


@pytest.mark.slow
@needs_proc
def test_what_a_sheared_volume_needs_at_once_is_counted():
    shape, spacing, shear = [192, 192, 120], [1.2, 1.2, 2.0], 0.01
    peak, _ = _peak(shape, 192, 12, spacing, None, shear)
    with pytest.raises(subprocess.CalledProcessError) as error:
        _peak(shape, 192, 12, spacing, 0.6 * peak / 1e9, shear)
    assert "sheared axes are resampled as a whole" in error.value.stderr
    needed = float(re.search(r"needs about ([\d.]+) GB", error.value.stderr)[1])
    assert 0.95 < needed / (peak / 1e9) < 1.4
