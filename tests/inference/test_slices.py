import numpy as np
import pytest
import torch
from torch import nn

from medseg.inference.slices import logits_of_slices, predict_slices, sample_inputs
from medseg.loading.geometry import SliceGeometry


class _Threshold(nn.Module):
    """Class 1 where the middle channel exceeds one half, as logits of two classes."""

    def forward(self, batch):
        middle = batch[:, batch.shape[1] // 2]
        return torch.stack([0.5 - middle, middle - 0.5], dim=1)


def _ball(shape=(5, 30, 44)):
    z, x, y = np.ogrid[tuple(slice(0, size) for size in shape)]
    ball = (x - 12) ** 2 + (y - 20) ** 2 + 9 * (z - 2) ** 2 < 80
    return ball.astype(np.float16)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_network_that_copies_its_input_returns_every_voxel_to_its_place(batch_size):
    images = _ball()
    geometry = SliceGeometry(image_size=(30, 44))
    found = predict_slices(_Threshold(), images, geometry, batch_size=batch_size)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize(
    "geometry",
    [
        SliceGeometry(image_size=(64, 64)),
        SliceGeometry(image_size=(64, 64), zoom=1.0),
        SliceGeometry(image_size=(96, 96), zoom=2.0),
        SliceGeometry(image_size=(48, 80), zoom=1.5, neighbours=2),
        SliceGeometry(image_size=(24, 24), zoom=3.0),  # too large at this zoom: shrunk to fit
    ],
    ids=str,
)
def test_any_geometry_returns_the_object_to_its_place(geometry):
    images = _ball()
    found = predict_slices(_Threshold(), images, geometry).astype(bool)
    truth = images > 0
    overlap = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert overlap > 0.93
    for axis in range(3):
        centres = [np.argwhere(mask)[:, axis].mean() for mask in (found, truth)]
        assert centres[0] == pytest.approx(centres[1], abs=0.2)


def test_a_linear_ramp_lies_where_the_matrix_says():
    geometry = SliceGeometry(image_size=(20, 20), zoom=0.5)
    ramp = np.broadcast_to(np.arange(30.0)[:, None], (30, 30))[None]
    seen = []

    class Spy(nn.Module):
        def forward(self, batch):
            seen.append(batch)
            return batch

    list(logits_of_slices(Spy(), ramp, geometry))
    matrix = geometry.matrix((30, 30))
    for row in (5, 10, 14):
        expected = (matrix @ [row, 10, 1])[0]
        assert seen[0][0, 0, row, 10] == pytest.approx(expected, abs=1e-3)
    assert seen[0][0, 0, 0, 10] == 0  # beyond the slice: zeros


def test_neighbours_are_channels_and_the_outermost_are_repeated():
    images = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 8, 8), np.float32)
    seen = []

    class Spy(nn.Module):
        def forward(self, batch):
            seen.append(batch[:, :, 4, 4])
            return batch[:, :2]

    predict_slices(Spy(), images, SliceGeometry((8, 8), neighbours=1), batch_size=4)
    assert seen[0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


def test_one_output_channel_is_a_probability():
    class Binary(nn.Module):
        def forward(self, batch):
            return (batch - 0.5) * 10

    images = _ball()
    np.testing.assert_array_equal(
        predict_slices(Binary(), images, SliceGeometry(image_size=(30, 44))), images
    )


def test_the_network_returns_to_the_mode_it_was_in():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1)).train()
    before = network[0].running_mean.clone()
    predict_slices(network, _ball(), SliceGeometry(image_size=(16, 16)))
    assert network.training
    torch.testing.assert_close(network[0].running_mean, before)


def test_the_sample_is_what_the_network_is_fed_spread_over_the_volume():
    images = np.arange(80, dtype=np.float32)[:, None, None] * np.ones((80, 8, 8), np.float32)
    found = sample_inputs(images, SliceGeometry((8, 8), neighbours=1), "cpu")
    assert found[:, :, 4, 4].tolist() == [[9, 10, 11], [29, 30, 31], [49, 50, 51], [69, 70, 71]]
    assert len(sample_inputs(images[:2], SliceGeometry((8, 8)), "cpu")) == 2
