import pytest
import torch
from torch import nn

from medseg.training.ema import averaged, warm_decay


def test_average_of_three_weights_by_hand():
    network = nn.Linear(1, 1, bias=False)
    average = averaged(network, decay=0.25)
    expected = None
    for count, weight in enumerate([4.0, 8.0, 2.0]):
        nn.init.constant_(network.weight, weight)
        average.update_parameters(network)
        decay = min(0.25, (1 + count) / (10 + count))  # 2/11, then 3/12
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
    # 4; 2/11 of it and 9/11 of 8; a quarter of that and three quarters of 2
    assert expected == pytest.approx(0.25 * (4 * 2 / 11 + 8 * 9 / 11) + 1.5)
    assert average.module.weight.item() == pytest.approx(expected)


def test_decay_warms_up_to_what_was_asked_for():
    assert [warm_decay(0.999, count) for count in (0, 1, 90)] == [0.1, 2 / 11, 0.91]
    assert warm_decay(0.999, 100_000) == 0.999


def test_buffers_are_averaged_and_whole_numbers_copied():
    network = nn.BatchNorm1d(2)
    average = averaged(network, decay=0.5)
    average.update_parameters(network)
    network(torch.full((4, 2), 10.0))  # running mean 1, one batch seen
    average.update_parameters(network)
    keep = 2 / 11
    torch.testing.assert_close(average.module.running_mean, torch.full((2,), 1 - keep))
    assert average.module.num_batches_tracked == 1
