import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import nn

from medseg.errors import DiskFullError, ModelError
from medseg.inference import window_sums, windows
from medseg.inference.window_sums import MemorySums
from medseg.inference.windows import (
    Tiling,
    importance,
    logits_of_windows,
    sample_windows,
    window_starts,
)
from medseg.loading.geometry import PatchGeometry


class Placed(nn.Module):
    """Logits that depend on a voxel, its neighbours and its place in the window."""

    def __init__(self, classes=3, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 1, 3, 3, 3, generator=generator))
        self.slope = nn.Parameter(torch.randn(classes, 3, generator=generator))

    def forward(self, batch):
        axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in batch.shape[2:]), indexing="ij")
        place = torch.einsum("ca,axyz->cxyz", self.slope, torch.stack(axes))
        return nn.functional.conv3d(batch, self.weight, padding=1) + place


def by_monai(network, images, geometry):
    """Logits (Z, C, X, Y) of the whole volume, its windows seen in the same order."""
    x, y, z = geometry.patch_size
    wanted = [max(size, side) for size, side in zip(images.shape, (z, x, y), strict=True)]
    padded = np.zeros(wanted, dtype=np.float32)
    padded[tuple(slice(size) for size in images.shape)] = images

    def forward(batch):  # (B, 1, Z, X, Y)
        return network(batch.permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)

    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(padded)[None, None], (z, x, y), 1, forward,
            overlap=geometry.overlap, mode="gaussian",
        )[0]  # fmt: skip
    depth, rows, columns = images.shape
    return logits[:, :depth, :rows, :columns].transpose(0, 1)


def joined(parts):
    """All logits of a stream, which has no gaps."""
    found, reached = [], 0
    for first, part in parts:
        assert first == reached
        found.append(part)
        reached += len(part)
    return torch.cat(found)


sides = st.integers(1, 70)
patches = st.tuples(st.integers(3, 24), st.integers(3, 24), st.integers(3, 24))


@given(
    st.tuples(sides, sides, sides), patches, st.floats(0, 0.75), st.integers(1, 5), st.booleans()
)
@settings(max_examples=50, deadline=None)
def test_logits_are_those_of_monais_sliding_window(shape, patch_size, overlap, batch_size, in_file):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    geometry, network = PatchGeometry(patch_size, overlap), Placed()
    expected = by_monai(network, volume, geometry)
    parts = logits_of_windows(
        network, volume, geometry, batch_size=batch_size, held_bytes=0 if in_file else None
    )
    found = joined(parts)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 1e-5
    assert (found.argmax(1) == expected.argmax(1))[clear].all()


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "starts"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 6, 7]),
        (11, 4, 0.0, [0, 4, 7]),
        (4, 4, 0.5, [0]),
        (3, 4, 0.5, [0]),
        (6, 4, 0.9, [0, 1, 2]),
    ],
)
def test_windows_step_by_what_does_not_overlap_and_end_flush(size, patch, overlap, starts):
    assert window_starts(size, patch, overlap) == starts


def test_what_the_network_sees_is_turned_so_that_z_is_last_and_padded_at_the_end():
    seen = []

    class Spy(nn.Module):
        def forward(self, batch):
            seen.append(batch.clone())
            return batch

    volume = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4) + 1  # (Z, X, Y)
    found = joined(logits_of_windows(Spy(), volume, PatchGeometry((5, 4, 6))))
    assert seen[0].shape == (1, 1, 5, 4, 6)
    np.testing.assert_array_equal(seen[0][0, 0, :3, :4, :2], volume.transpose(1, 2, 0))
    assert seen[0].sum() == volume.sum()
    np.testing.assert_allclose(found[:, 0], volume, rtol=1e-6)


@pytest.mark.parametrize("shape", [(70, 20, 30), (35, 20, 30)])
def test_sums_are_kept_for_as_many_planes_as_a_window_is_deep(shape, monkeypatch):
    made = []

    class Counted(MemorySums):
        def __init__(self, shape, device):
            super().__init__(shape, device)
            made.append(self._kept.numel() * self._kept.element_size())

    monkeypatch.setattr(windows, "MemorySums", Counted)
    geometry = PatchGeometry((8, 8, 10), 0.5)
    monkeypatch.setattr(windows, "HANDED_BYTES", 4 * 3 * 20 * 30 * 2)  # two planes
    parts = [len(p) for _, p in logits_of_windows(Placed(), np.zeros(shape), geometry)]
    assert made == [4 * 3 * 10 * 20 * 30]
    assert max(parts) == 2
    assert sum(parts) == shape[0]
    assert Tiling.of(shape, geometry).sum_bytes(3) == made[0]


@pytest.mark.parametrize("most", [2**28, 5000])  # a row of windows, or a class or two of one
def test_a_file_of_sums_holds_what_memory_holds_and_is_gone_afterwards(most, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(window_sums, "ROW_BYTES", most)
    volume = np.random.default_rng(1).normal(size=(21, 13, 17)).astype(np.float32)
    geometry = PatchGeometry((6, 7, 5), 0.3)
    kept = joined(logits_of_windows(Placed(5), volume, geometry))
    assert joined(logits_of_windows(Placed(5), volume, geometry, held_bytes=0)).equal(kept)
    assert not list(tmp_path.iterdir())


def test_a_file_that_finds_no_room_is_said(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(window_sums.os, "posix_fallocate", full)
    with pytest.raises(DiskFullError, match=r"no room for .* GB of scores; set TMPDIR"):
        list(
            logits_of_windows(Placed(), np.zeros((4, 4, 4)), PatchGeometry((3, 3, 3)), held_bytes=0)
        )


def test_a_network_that_changes_the_size_is_refused():
    network = nn.MaxPool3d(2)
    with pytest.raises(ModelError, match=r"patch's size \(4, 4, 4\), got \(2, 2, 2\)"):
        list(logits_of_windows(network, np.zeros((4, 4, 4)), PatchGeometry((4, 4, 4))))


def test_the_network_returns_to_the_mode_it_was_in_and_a_listener_may_leave():
    network = nn.Sequential(nn.BatchNorm3d(1), nn.Conv3d(1, 2, 1)).train()
    before = network[0].running_mean.clone()
    parts = logits_of_windows(network, np.ones((9, 4, 4)), PatchGeometry((4, 4, 4)))
    next(parts)
    assert not network.training
    parts.close()
    assert network.training
    torch.testing.assert_close(network[0].running_mean, before)


def test_samples_are_taken_where_there_is_something():
    volume = np.zeros((40, 30, 20), dtype=np.float32)
    volume[:, 20:28, 10:16] = np.random.default_rng(0).normal(size=(40, 8, 6))
    found = sample_windows(volume, PatchGeometry((10, 8, 6), 0.0), "cpu")
    assert found.shape == (4, 1, 10, 8, 6)
    assert (found.std(dim=(1, 2, 3, 4)) > 0.3).all()
    large = sample_windows(volume, PatchGeometry((128, 128, 64)), "cpu")
    assert large.shape == (1, 1, 128, 128, 64)


def test_weights_are_monais_with_their_floor_and_never_zero():
    weights = importance((9, 5, 3))
    assert weights.shape == (3, 9, 5)
    assert weights[1, 4, 2] == 1
    assert weights.min() == pytest.approx(1e-3)
