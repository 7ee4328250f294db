import pytest
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference import path as paths
from medseg.inference.path import check_precision, choose_path
from medseg.networks.transunet import TransUNet


class Margin(nn.Module):
    """Two classes, the second ahead by ``margin`` everywhere, at logits around 100."""

    def __init__(self, margin):
        super().__init__()
        self.second = nn.Parameter(torch.tensor(100.0 + margin))

    def forward(self, images):
        first = torch.full_like(images, 100.0)
        return torch.cat([first, images * 0 + self.second], dim=1)


@pytest.fixture
def half_pays(monkeypatch):
    monkeypatch.setattr(paths, "bfloat16_pays", lambda *_: True)


def transunet():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "mlp_dim": 48, "num_heads": 2, "num_layers": 1}
    conv = {"block_units": (1, 1, 1), "width_factor": 0.25}
    return TransUNet(64, **sizes, **conv, decoder_channels=(16, 16, 8, 8, 8)).eval()


class LooksInside(nn.Module):
    """Reads the weight of its layer, as a copy with packed weights does not let it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, images):
        return images.repeat(1, 2, 1, 1) @ self.layer.weight


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_a_network_that_no_copy_can_stand_in_for_is_run_all_the_same(half_pays, precision):
    network, sample = LooksInside(), torch.randn(2, 1, 8, 8)
    found = choose_path(network, sample, precision).network(sample)
    torch.testing.assert_close(found, network(sample), atol=0.05, rtol=0.05)


def test_half_precision_is_taken_where_labels_stay(half_pays):
    chosen = choose_path(Margin(8.0), torch.randn(2, 1, 8, 8))
    assert chosen.precision == "bfloat16"
    assert "100.000% of labels" in chosen.why


def test_half_precision_is_refused_where_labels_would_change(half_pays):
    network, sample = Margin(0.1), torch.randn(2, 1, 8, 8)  # bfloat16 steps by a half near 100
    chosen = choose_path(network, sample)
    assert chosen.precision == "float32"
    assert "0.000% of labels" in chosen.why
    assert torch.equal(chosen.network(sample), network(sample))


def test_half_precision_is_not_tried_where_it_is_not_faster(monkeypatch):
    monkeypatch.setattr(paths, "bfloat16_pays", lambda *_: False)
    chosen = choose_path(Margin(8.0), torch.randn(2, 1, 8, 8))
    assert (chosen.precision, chosen.why) == (
        "float32",
        "half precision is not clearly faster here",
    )


def test_float32_is_the_exact_copy():
    network, sample = transunet(), torch.randn(2, 1, 64, 64)
    chosen = choose_path(network, sample, "float32")
    assert chosen.prepared
    assert chosen.network is not network
    with torch.inference_mode():
        torch.testing.assert_close(chosen.network(sample), network(sample), rtol=1e-4, atol=1e-4)


def test_a_copy_that_is_off_gives_way_to_the_network(monkeypatch):
    network, sample = transunet(), torch.randn(1, 1, 64, 64)
    monkeypatch.setattr(paths, "prepare", lambda network: lambda images: network(images) + 1)
    chosen = choose_path(network, sample, "float32")
    assert chosen.network is network
    assert not chosen.prepared
    assert "logits of the copy are 1 off" in chosen.why


def test_a_copy_that_fails_gives_way_to_the_network(monkeypatch, half_pays):
    def fail(*args, **kwargs):
        raise RuntimeError("no such kernel")

    network, sample = transunet(), torch.randn(1, 1, 64, 64)
    monkeypatch.setattr(paths, "prepare", fail)
    chosen = choose_path(network, sample)
    assert chosen.network is network
    assert "bfloat16 fails: no such kernel; the copy fails: no such kernel" in chosen.why


def test_a_network_with_float32_numbers_of_its_own_runs_under_autocast(half_pays):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)
            nn.init.constant_(self.conv.bias, 0.0)
            nn.init.constant_(self.conv.weight[1], 3.0)

        def forward(self, images):
            return self.conv(images + torch.ones(1))

    chosen = choose_path(Own().eval(), torch.rand(2, 1, 8, 8))
    assert chosen.precision == "bfloat16"
    assert chosen.network.autocast


def test_nothing_global_is_changed():
    network, sample = transunet(), torch.randn(1, 1, 64, 64)
    before = torch.get_float32_matmul_precision(), torch.get_rng_state()
    choose_path(network, sample)
    assert torch.get_float32_matmul_precision() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_the_precision_is_written_down_as_plain_data():
    plain = choose_path(Margin(8.0), torch.randn(1, 1, 8, 8), "bfloat16").to_plain()
    assert plain == {"precision": "bfloat16", "prepared": True, "why": "as asked"}


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("half", "'half': expected one of auto, float32, bfloat16, float16"),
        ("float16", "float16 needs CUDA, the device is cpu; try bfloat16"),
    ],
)
def test_a_precision_that_cannot_be_had_is_refused(precision, message):
    with pytest.raises(UsageError, match=message):
        check_precision(precision, torch.device("cpu"))
