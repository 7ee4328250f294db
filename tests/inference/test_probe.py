import pytest
import torch
from torch import nn

from medseg.inference import probe
from medseg.inference.probe import sample_within


@pytest.fixture
def network(monkeypatch):
    """Its output, 4 MB for an input of 1 MB, is all that it makes; the process takes 1 GB."""
    monkeypatch.setattr(probe, "resident_bytes", lambda: 10**9)
    return nn.Conv2d(1, 4, 1).eval()


@pytest.mark.parametrize(
    ("gb", "count"),
    [(None, 8), (9.0, 8), (1.1 + 3.5 * 1.1 * 4 * 2**20 / 1e9, 3), (1.1, 1), (0.1, 1)],
)
def test_so_many_inputs_are_tried_as_fit_and_one_at_least(network, gb, count):
    sample = torch.zeros(8, 1, 512, 512)
    assert len(sample_within(gb, sample, [network])) == count
