"""What holds for every network for volumes with every attention, at a small size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import UsageError
from medseg.networks.layers.attention import ATTENTIONS
from tests.networks.volumes import MAKERS, transunet_3d, vit_cup_3d, volumes

THICK = ((2, 2, 1), 2, (2, 2, 1))
EVERY = [(maker, kind) for maker in MAKERS for kind in ATTENTIONS]


def built(maker, **changes):
    torch.manual_seed(0)
    return MAKERS[maker](**changes)


def logits_and_gradients(network, volume):
    """Of a sum of squares over all logits, in training."""
    torch.manual_seed(1)
    logits = network.train()(volume)
    logits = logits if isinstance(logits, list) else [logits]
    sum(one.square().mean() for one in logits).backward()
    return logits, [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize(("maker", "kind"), EVERY)
@settings(max_examples=4, deadline=None)
@given(size=st.tuples(*[st.integers(16, 80)] * 3))
def test_any_size_comes_back(maker, kind, size):
    network = built(maker, attention=kind).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(1, 1, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("maker", "kind"), EVERY)
def test_gradients_reach_every_parameter(maker, kind):
    network = built(maker, attention=kind)
    logits_and_gradients(network, volumes(1, 1, 24, 32, 24))
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("maker", "kind"), EVERY)
def test_a_batch_of_one_equals_its_row_in_a_batch(maker, kind):
    network, batch = (
        built(maker, attention=kind).eval().double(),
        volumes(3, 1, 20, 32, 28).double(),
    )
    with torch.inference_mode():
        together = network(batch)
        for row, volume in enumerate(batch):
            torch.testing.assert_close(network(volume[None])[0], together[row], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("maker", "kind"), EVERY)
def test_fused_and_explicit_attention_agree(maker, kind):
    network, volume = built(maker, attention=kind).eval(), volumes(1, 1, 40, 24, 28)
    with torch.inference_mode():
        fused = network(volume)
        for module in network.modules():
            if hasattr(module, "fused"):
                module.fused = False
        torch.testing.assert_close(network(volume), fused, rtol=0, atol=1e-5)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_window_as_large_as_the_grid_is_dense_attention(maker):
    dense, windowed = built(maker), built(maker, attention="windowed", window=(5, 7, 5))
    windowed.load_state_dict(dense.state_dict(), strict=False)  # no bias table, which is zero
    for name, parameter in windowed.named_parameters():
        if name not in dict(dense.named_parameters()):
            torch.nn.init.zeros_(parameter)
    with torch.inference_mode():
        volume = volumes(1, 1, 40, 56, 40)
        torch.testing.assert_close(windowed.eval()(volume), dense.eval()(volume), rtol=0, atol=2e-5)


@pytest.mark.parametrize("maker", MAKERS)
def test_deep_supervision_gives_each_level_of_the_decoder_in_training_alone(maker):
    network, volume = built(maker, deep_supervision=True), volumes(2, 1, 24, 17, 32)
    sizes = [tuple(logits.shape) for logits in network.train()(volume)]
    expected = [(2, 3, 24, 17, 32), (2, 3, 12, 9, 16), (2, 3, 6, 5, 8)]
    assert sizes == expected[: len(sizes)]
    assert len(sizes) == (2 if maker == "HierarchicalViT3D" else 3)
    with torch.inference_mode():
        assert network.eval()(volume).shape == (2, 3, 24, 17, 32)


@pytest.mark.parametrize("maker", MAKERS)
def test_deep_supervision_changes_no_logits_of_full_size(maker):
    plain, deep = built(maker).eval(), built(maker, deep_supervision=True).eval()
    missing, more = deep.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.startswith("head.heads") for name in missing)
    assert not more
    with torch.inference_mode():
        volume = volumes(1, 1, 24, 24, 24)
        assert torch.equal(plain(volume), deep(volume))


@pytest.mark.parametrize("maker", MAKERS)
def test_checkpointing_gives_the_same_logits_and_gradients(maker):
    changes = {"deep_supervision": True, "dropout": 0.2}
    plain, again = built(maker, **changes), built(maker, **changes, checkpointing=True)
    volume = volumes(1, 1, 24, 24, 24)
    for one, other in zip(
        logits_and_gradients(plain, volume), logits_and_gradients(again, volume), strict=True
    ):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("maker", MAKERS)
def test_checkpointing_keeps_less_for_the_backward_pass(maker):
    kept = []
    for checkpointing in (False, True):
        network, storages = built(maker, checkpointing=checkpointing), {}

        def keep(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = network.train()(volumes(1, 1, 48, 48, 48))
        kept.append(sum(storages.values()))
        del logits
    assert kept[1] < 0.6 * kept[0]


@pytest.mark.parametrize("make", [transunet_3d, vit_cup_3d])
def test_steps_along_each_axis_keep_the_slices_of_a_thick_one(make):
    torch.manual_seed(0)
    network = make(strides=THICK, deep_supervision=True)
    features = []
    network.encoder.register_forward_hook(lambda *call: features.append(call[2]))
    sizes = [tuple(logits.shape[2:]) for logits in network.train()(volumes(1, 1, 32, 48, 10))]
    assert features[0].shape[2:] == (4, 6, 5)
    assert sizes == [(32, 48, 10), (16, 24, 10), (8, 12, 5)]


def test_the_transformer_stands_at_a_sixteenth_after_five_levels():
    network, features = transunet_3d(widths=(4, 4, 4, 8, 8)).eval(), []
    network.encoder.register_forward_hook(lambda *call: features.append(call[2]))
    with torch.inference_mode():
        assert network(volumes(1, 1, 32, 33, 48)).shape == (1, 3, 32, 33, 48)
    assert features[0].shape == (1, 24, 2, 3, 3)


@pytest.mark.parametrize("maker", MAKERS)
def test_an_untrained_network_expects_background(maker):
    with torch.inference_mode():
        chances = built(maker).eval()(volumes(1, 1, 32, 32, 32)).softmax(1)
    assert chances[:, 0].mean() > 0.8


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_runs_under_autocast(maker, dtype):
    network, volume = built(maker).train(), volumes(2, 1, 24, 24, 24)
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        logits = network(volume)
    logits.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"widths": (8,)}, "widths must be two or more"),
        ({"strides": (2, 2)}, "strides must be 3 for 4 widths, got 2"),
        ({"strides": (2, 2, (2, 2))}, "a stride must be one number or three of 1 or more"),
        ({"encoder": "r101"}, "encoder must be one of plain, r50, got 'r101'"),
        ({"attention": "sparse"}, "attention must be one of dense"),
        ({"positions": "relative"}, "positions must be one of learned_1d"),
        ({"positions": "sincos", "hidden_size": 32, "num_heads": 4}, "a multiple of 6"),
        ({"encoder": "r50", "widths": (4,) * 5, "strides": (2, 2, 2, 4)}, "must be four of"),
    ],
)
def test_what_does_not_fit_is_said(change, said):
    with pytest.raises(UsageError, match=said):
        transunet_3d(**change)


def test_regions_are_whole_patches():
    with pytest.raises(
        UsageError, match=r"region_size .* got \(6, 6, 6\) for patches of \(4, 4, 4\)"
    ):
        MAKERS["HierarchicalViT3D"](region_size=6)


def test_another_number_of_channels_is_said():
    with pytest.raises(ValueError, match=r"\(B, 1, X, Y, Z\), got \(1, 2, 8, 8, 8\)"):
        transunet_3d()(volumes(1, 2, 8, 8, 8))
