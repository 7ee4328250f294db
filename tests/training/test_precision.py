import pytest
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference import path
from medseg.training.precision import Forward, pick_precision

CPU = torch.device("cpu")


def test_float16_is_refused_without_cuda():
    with pytest.raises(UsageError, match=r"float16 needs CUDA.*bfloat16"):
        pick_precision("float16", CPU)


@pytest.mark.parametrize(("seconds", "picked"), [(0.5, "bfloat16"), (0.9, "float32")])
def test_auto_takes_bfloat16_on_a_cpu_only_where_it_is_clearly_faster(monkeypatch, seconds, picked):
    times = {torch.float32: 1.0, torch.bfloat16: seconds}
    monkeypatch.setattr(path, "_seconds", lambda dtype, axes: times[dtype])
    assert pick_precision("auto", CPU) == picked


def test_the_probe_itself_runs_and_draws_no_random_number():
    before = torch.get_rng_state()
    assert pick_precision("auto", CPU) in ("float32", "bfloat16")
    assert torch.equal(torch.get_rng_state(), before)


def test_logits_are_float32_and_close_in_every_precision():
    torch.manual_seed(0)
    network, image = nn.Conv2d(1, 3, 3), torch.rand(2, 1, 8, 8)
    exact = Forward("float32")(image, network)
    rounded = Forward("bfloat16", channels_last=True)(image, network)
    assert exact.dtype == rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.02, atol=0.02)
