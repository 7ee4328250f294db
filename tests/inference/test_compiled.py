"""Compiled paths: that they give the same labels, and what happens where none can be made."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.compiled import Compiled, compiled
from medseg.inference.path import choose_path
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Volume


def network():
    torch.manual_seed(0)
    first, last = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Conv2d(4, 3, 1, bias=False)
    nn.init.normal_(first.weight)
    nn.init.normal_(last.weight)
    return nn.Sequential(first, nn.BatchNorm2d(4), nn.Tanh(), last).eval()


def model():
    spec = ModelSpec(
        {}, {"a": 1, "b": 2}, Preprocessing(window=(-1.0, 1.0)), SliceGeometry((16, 16))
    )
    return LoadedModel(spec, network(), {})


@pytest.fixture
def sizes(monkeypatch):
    """In place of the compiler: the sizes of the batches that a compiled network would see."""
    seen = []

    def compile_nothing(network, **_):
        def run(images):
            seen.append(len(images))
            return network(images)

        return run

    monkeypatch.setattr(torch, "compile", compile_nothing)
    return seen


def test_batches_are_filled_up_to_one_size_and_no_logit_changes(sizes):
    plain, made = network(), Compiled(network(), 4)
    for count in (4, 3, 1, 6, 2):
        images = torch.randn(count, 1, 16, 16)
        torch.testing.assert_close(made(images), plain(images))
    assert sizes == [4, 4, 4, 6, 6]


def test_after_an_error_the_next_batch_may_be_smaller(monkeypatch):
    def run(images):
        if len(images) > 2:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return images

    monkeypatch.setattr(torch, "compile", lambda *_, **__: run)
    made = Compiled(network(), 4)
    with pytest.raises(RuntimeError, match="not enough memory"):
        made(torch.zeros(4, 1, 16, 16))
    assert made(torch.zeros(2, 1, 16, 16)).shape == (2, 1, 16, 16)


def test_without_a_compiler_the_plain_path_is_taken_and_the_reason_said(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no C++ compiler found\nSet this")

    monkeypatch.setattr(torch, "compile", fail)
    volume = Volume(np.random.default_rng(0).normal(size=(16, 16, 5)), np.eye(4))
    plain = Predictor(model(), PredictSettings(device="cpu", precision="float32"))
    wanted = plain(volume)
    asked = Predictor(model(), PredictSettings(device="cpu", precision="float32", compile=True))
    np.testing.assert_array_equal(asked(volume).array, wanted.array)
    assert plain.path.why == "as asked"
    assert asked.path.why == "as asked; not compiled: RuntimeError: no C++ compiler found"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_network_that_gives_something_else_is_not_taken(monkeypatch, precision):
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda images: -network(images))
    one, sample = network(), torch.randn(2, 1, 16, 16)
    path = choose_path(one, sample, precision)
    found = compiled(path, one, sample, 2)
    assert found.network is path.network
    assert "not compiled: it" in found.why


def test_a_limit_of_memory_is_not_promised_for_a_compiled_network():
    with pytest.raises(UsageError, match="max_memory_gb or compile"):
        Predictor(model(), PredictSettings(device="cpu", max_memory_gb=4.0, compile=True))


@pytest.mark.slow
@pytest.mark.parametrize("tta", ["none", "left_right"])
def test_a_compiled_network_gives_the_same_label_map(tta):
    volume = Volume(np.random.default_rng(0).normal(size=(20, 18, 11)), np.eye(4))
    settings = {"device": "cpu", "precision": "float32", "batch_size": 4, "tta": tta}
    wanted = Predictor(model(), PredictSettings(**settings))(volume)
    predictor = Predictor(model(), PredictSettings(**settings, compile=True))
    found = predictor(volume)
    if "not compiled" in predictor.path.why:
        pytest.skip(predictor.path.why)
    assert predictor.path.why == "as asked; compiled for batches of 4"
    assert (found.array != wanted.array).mean() < 1e-3
    assert len(np.unique(wanted.array)) > 1
